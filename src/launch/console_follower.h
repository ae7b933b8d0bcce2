// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "sys/fd.h"

namespace tinderbox::launch {

// Reads a VM's console log as it grows, over the warden's rotation of it. Output that is rotated
// away twice before it was read is lost, as the log is bounded.
class ConsoleFollower {
 public:
  using Sink = std::function<base::Result<>(std::string_view)>;

  static base::Result<ConsoleFollower> Open(const std::string& run_dir);

  // Hands on what has come since the last call.
  base::Result<> Drain(const Sink& sink);
  // Readable when there may be more.
  sys::FdRef events() const { return inotify_; }

 private:
  // True where the log has been rotated, and the new one is open now.
  base::Result<bool> Reopen();

  std::string path_;
  sys::UniqueFd file_;
  sys::UniqueFd inotify_;
};

}  // namespace tinderbox::launch
