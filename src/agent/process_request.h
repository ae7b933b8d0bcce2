// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "agent/process_table.h"
#include "agent/rpc.h"
#include "agent/state.h"

// What the messages of process.Process mean.
namespace tinderbox::agent {

struct StartRequest {
  ProcessConfig config;
  std::optional<TerminalSize> terminal;
  std::optional<std::string> tag;
  bool stdin_pipe = true;
};

RpcResult<StartRequest> ParseStart(const Message& message);
// Of a message with a field `process`.
RpcResult<ProcessSelector> ParseSelector(const Message& message);
// {"pty":{"size":{"cols":80,"rows":24}}}
RpcResult<std::optional<TerminalSize>> ParseTerminal(const Message& message);

struct Input {
  bool to_terminal = false;
  std::string bytes;
};
// Of a message with a field `input`.
RpcResult<Input> ParseInput(const Message& message);

// Turns a request into what Spawn needs: environment in the contract's order, working directory
// checked.
RpcResult<SpawnSpec> PlanSpawn(const StartRequest& request, const User& user,
                               const AgentState& state);

boost::json::object ProcessInfo(const Process& process);

}  // namespace tinderbox::agent
