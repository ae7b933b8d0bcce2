// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "base/deadline.h"
#include "base/error.h"
#include "sys/fd.h"
#include "volume/usage.h"

namespace tinderbox::volume {

// One tinderbox-volume, which serves a volume to a guest. It ends with this object, with this
// process, with the thread that started it, and with its connection.
class ServerProcess {
 public:
  struct Options {
    std::string program;       // path of tinderbox-volume
    sys::UniqueFd connection;  // to the guest's agent, which has mounted at its other end
    std::string directory;     // the volume's
    std::uint64_t reserve_bytes = 0;
    std::shared_ptr<Usage> usage;  // the volume's
    std::string cgroup;            // that it joins, if there is one of that name; "": none
  };
  static base::Result<ServerProcess> Start(Options options);
  ServerProcess(ServerProcess&&) = default;
  ServerProcess& operator=(ServerProcess&&) = delete;
  ~ServerProcess();

  // Returns when the guest's kernel has mounted it. kUnavailable where the server ended before.
  base::Result<> AwaitReady(base::Deadline deadline) const;
  // Readable once it has ended.
  sys::FdRef pidfd() const { return pidfd_; }
  bool ended() const;

 private:
  ServerProcess(sys::UniqueFd pidfd, sys::UniqueFd line, std::shared_ptr<Usage> usage)
      : pidfd_(std::move(pidfd)), line_(std::move(line)), usage_(std::move(usage)) {}

  sys::UniqueFd pidfd_;
  sys::UniqueFd line_;
  std::shared_ptr<Usage> usage_;
};

}  // namespace tinderbox::volume
