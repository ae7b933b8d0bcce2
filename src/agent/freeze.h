// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "agent/wakeup.h"
#include "net/http_message.h"
#include "sys/fd.h"

namespace tinderbox::agent {

// The object that a Freeze stops and lets go on. All calls come from the freeze's own thread and
// may block.
class Freezable {
 public:
  virtual ~Freezable() = default;
  // An error leaves it thawed.
  virtual base::Result<> Stop() = 0;
  virtual base::Result<> GoOn() = 0;
  // Called before GoOn if no request to thaw came in time. An error keeps it frozen until one
  // comes.
  virtual base::Result<> PrepareOwnThaw() { return {}; }
};

// A mounted file system (FIFREEZE): what was written before is on the disk, whole.
std::unique_ptr<Freezable> FreezableFilesystem(std::string path);

// Holds something in the guest still while the host captures the guest. A host that is lost
// meanwhile leaves nothing frozen: after kLongest it thaws by itself, whatever the loop does.
//
// The loop itself may wait in the kernel for what is frozen: for a file system, or for a file that
// a frozen process serves. It could then take no request to thaw. So everything in the agent that
// needs what is frozen awaits AwaitThaw first, and freezing, waiting and thawing are done by a
// thread of their own.
class Freeze {
 public:
  static constexpr std::chrono::seconds kLongest{30};

  // `target`: null if there is nothing to freeze (all calls of Begin fail). `longest` is for tests.
  Freeze(const boost::asio::any_io_executor& executor, std::unique_ptr<Freezable> target,
         std::chrono::milliseconds longest = kLongest);
  // Thaws.
  ~Freeze();
  Freeze(const Freeze&) = delete;
  Freeze& operator=(const Freeze&) = delete;

  // Freezes. Success if it is frozen already, and that does not lengthen its time.
  // kFailedPrecondition without a target, else the target's error.
  net::AsyncResult<> Begin();
  // Success if nothing is frozen.
  net::AsyncResult<> End();
  // False from the start of Begin until the thaw.
  bool thawed() const { return stage_ == Stage::kThawed; }
  // Returns when nothing is frozen. Do not suspend between this and the use.
  net::Task<> AwaitThaw();

 private:
  enum class Stage { kThawed, kFreezing, kFrozen };

  void Hold();  // the thread
  bool AwaitEnd(bool forever) const;
  void OnFrozen(base::Result<> stopped);
  void OnThawed();

  boost::asio::any_io_executor executor_;
  const std::unique_ptr<Freezable> target_;
  const std::chrono::milliseconds longest_;
  Stage stage_ = Stage::kThawed;
  base::Result<> stopped_;  // the last attempt
  sys::UniqueFd end_;       // an eventfd: End has been called
  Wakeup changed_;          // stage_ is another
  std::thread holder_;
};

}  // namespace tinderbox::agent
