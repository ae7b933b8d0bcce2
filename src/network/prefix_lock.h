// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/error.h"
#include "network/address_plan.h"
#include "sys/fd.h"

namespace tinderbox::network {

// Where the locks are: beside /run/netns, whose names they guard. Only root may enter.
inline constexpr char kLockDirectory[] = "/run/tinderbox-network";

// Sole ownership of a prefix, in all network namespaces that share /run: an flock(2) on
// <kLockDirectory>/<prefix>.lock, which the kernel releases when its holder ends, however that
// ends.
class PrefixLock {
 public:
  // Never waits. kFailedPrecondition if another process, or this one, has it: the message names the
  // holder.
  static base::Result<PrefixLock> Take(const AddressPlan& plan);
  PrefixLock(PrefixLock&&) = default;
  PrefixLock& operator=(PrefixLock&&) = delete;
  // Removes the file, and the directory if it is empty then.
  ~PrefixLock();

 private:
  PrefixLock(sys::UniqueFd lock, std::string path)
      : lock_(std::move(lock)), path_(std::move(path)) {}

  sys::UniqueFd lock_;
  std::string path_;
};

}  // namespace tinderbox::network
