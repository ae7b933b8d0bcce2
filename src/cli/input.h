// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <thread>

#include "base/error.h"
#include "cli/agent.h"
#include "net/http_client.h"
#include "sys/fd.h"

namespace tinderbox::cli {

// Carries our standard input to a process in a sandbox, in a thread of its own: a process that does
// not read holds up its input, never its output. Stops by itself at the end of the input (which it
// passes on), or when the process takes no more.
class InputForwarder {
 public:
  // `terminal`: the process has a terminal, whose input has no end; Ctrl-D stands for it.
  InputForwarder(Agent agent, std::uint32_t pid, bool terminal);
  InputForwarder(const InputForwarder&) = delete;
  InputForwarder& operator=(const InputForwarder&) = delete;
  // Interrupts whatever the thread waits for, and joins it.
  ~InputForwarder();

 private:
  void Run();
  base::Result<> Send(std::string_view bytes);
  base::Result<> End();
  base::Result<> Call(const char* method, const boost::json::value& request);

  Agent agent_;
  std::uint32_t pid_;
  bool terminal_;
  sys::UniqueFd stop_;  // eventfd
  std::mutex mutex_;    // guards stopping_, and client_ while it is replaced
  bool stopping_ = false;
  std::optional<net::HttpClient> client_;
  std::thread thread_;
};

}  // namespace tinderbox::cli
