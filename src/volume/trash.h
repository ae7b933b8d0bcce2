// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "base/error.h"
#include "sys/fd.h"

namespace tinderbox::volume {

// A directory for what is being removed. Things get there by one rename, so that whoever removes
// something need not wait for it, and a thread empties it: whatever its depth (nothing recurses,
// and three descriptors are all that it takes), following no link, and leaving alone what is
// mounted. What a killed process left in it goes with the next one's first.
class Trash {
 public:
  // `directory` must be on the file system of all that Take is given.
  explicit Trash(sys::UniqueFd directory);
  ~Trash();  // stops soon; what is left stays for the next
  Trash(const Trash&) = delete;
  Trash& operator=(const Trash&) = delete;

  // Moves `name` of `parent` here, whatever it is. kNotFound.
  base::Result<> Take(sys::FdRef parent, const std::string& name);
  // Waits until it has been empty, or `milliseconds` are over; whether it is. For tests.
  bool AwaitEmpty(int milliseconds);

 private:
  void Run();
  void Empty();
  bool EmptyDirectory(const std::string& name);  // its directories come here; false where stopping

  sys::UniqueFd directory_;
  std::atomic<bool> stopping_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool wanted_ = true;
  bool idle_ = false;
  std::thread thread_;
};

}  // namespace tinderbox::volume
