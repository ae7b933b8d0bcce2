// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/value.hpp>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "base/error.h"
#include "cli/options.h"
#include "cli/session.h"
#include "cli/terminal.h"

namespace tinderbox::cli {

inline constexpr std::chrono::seconds kDefaultTimeout{300};

// The body of POST /v2/sandboxes.
boost::json::object CreateBody(const SandboxOptions& options, const Pairs& env);

// `target`, asking for the stages' times as well.
std::string WithTimings(std::string target, bool timings);
// What an answer tells of them, on standard error, where it is in nobody's way; nothing where it
// tells nothing.
void TellTimings(const boost::json::value& sandbox);

// Creates a sandbox and yields the API's answer. If a signal comes meanwhile, the sandbox is taken
// away again once it is there, and the error is kCancelled; its errno value is the signal's number.
// A second signal leaves at once.
base::Result<boost::json::value> CreateSandbox(const Session& session,
                                               const SandboxOptions& options, const Pairs& env,
                                               SignalQueue& signals);

// Removes it; absence is success.
base::Result<> RemoveSandbox(Session session, const std::string& id);

// As long as it lives, the sandbox has at least `floor` before its timeout: one who is attached to
// a command does not lose it. In a thread of its own; failures are ignored, the next round tries
// again.
class LifeKeeper {
 public:
  LifeKeeper(const Session& session, std::string sandbox, std::chrono::seconds floor);
  LifeKeeper(const LifeKeeper&) = delete;
  LifeKeeper& operator=(const LifeKeeper&) = delete;
  ~LifeKeeper();

 private:
  void Run();
  void Prolong();

  Session session_;
  std::string sandbox_;
  std::chrono::seconds floor_;
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace tinderbox::cli
