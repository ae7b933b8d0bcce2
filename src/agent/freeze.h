// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <chrono>
#include <string>
#include <thread>

#include "agent/wakeup.h"
#include "net/http_message.h"
#include "sys/fd.h"

namespace tinderbox::agent {

// Holds a file system still (FIFREEZE) while the host takes a copy of the disk: what was written
// before is on it, whole, and nothing is written until the thaw. A host that is lost meanwhile
// leaves nothing behind: after kLongest the file system thaws by itself, whatever the loop does.
//
// Whatever writes to the file system stops in the kernel while it is frozen, our one thread too,
// which could then take no thaw any more. So everything in the agent that writes awaits AwaitThaw
// first, and freezing, waiting and thawing are done by a thread of their own.
class Freeze {
 public:
  static constexpr std::chrono::seconds kLongest{30};

  // `path`: a directory of the file system; empty where there is none to freeze (all calls of
  // Begin fail). `longest` is for tests.
  Freeze(const boost::asio::any_io_executor& executor, std::string path,
         std::chrono::milliseconds longest = kLongest);
  // Thaws.
  ~Freeze();
  Freeze(const Freeze&) = delete;
  Freeze& operator=(const Freeze&) = delete;

  // Writes out what is unwritten and freezes. Success where it is frozen already, whose time then
  // is not lengthened. kFailedPrecondition without a path, else what the kernel says.
  net::AsyncResult<> Begin();
  // Success where nothing is frozen.
  net::AsyncResult<> End();
  // Returns when the file system may be written to. Do not suspend between this and the write.
  net::Task<> AwaitThaw();

 private:
  enum class Stage { kThawed, kFreezing, kFrozen };

  void Hold();  // the thread
  void OnFrozen(int error);
  void OnThawed();

  boost::asio::any_io_executor executor_;
  const std::string path_;
  const std::chrono::milliseconds longest_;
  Stage stage_ = Stage::kThawed;
  int error_ = 0;      // of the last attempt
  sys::UniqueFd end_;  // an eventfd: End has been called
  Wakeup changed_;     // stage_ is another
  std::thread holder_;
};

}  // namespace tinderbox::agent
