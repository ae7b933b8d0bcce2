// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "agent/process_table.h"
#include "agent/rpc.h"
#include "agent/state.h"
#include "net/http_server.h"

namespace tinderbox::agent {

// The RPC service process.Process (src/schema/process/process.proto).
class ProcessService {
 public:
  ProcessService(AgentState& state, ProcessTable& table) : state_(state), table_(table) {}

  // Serves /process.Process/METHOD; unimplemented for methods that do not exist.
  net::Task<> Serve(net::Exchange& exchange, std::string_view method);

 private:
  struct Attachment;

  net::Task<> ServeStart(net::Exchange& exchange);
  net::Task<> ServeConnect(net::Exchange& exchange);
  net::Task<> ServeStreamInput(net::Exchange& exchange);
  AsyncRpcResult<std::shared_ptr<Process>> StartProcess(net::Exchange& exchange,
                                                        std::shared_ptr<Subscriber> subscriber,
                                                        Wakeup::TimePoint deadline);
  AsyncRpcResult<std::shared_ptr<Process>> StreamTarget(net::Exchange& exchange);
  net::Task<> StreamEvents(net::Exchange& exchange, std::shared_ptr<Process> process,
                           std::shared_ptr<Subscriber> subscriber, Wakeup::TimePoint deadline);
  AsyncRpcResult<> ApplyInput(net::Exchange& exchange, std::shared_ptr<bool> cancelled);

  AsyncRpcResult<boost::json::object> List(Message request);
  AsyncRpcResult<boost::json::object> Update(Message request);
  AsyncRpcResult<boost::json::object> SendInput(Message request, std::shared_ptr<bool> cancelled);
  AsyncRpcResult<boost::json::object> SendSignal(Message request);
  AsyncRpcResult<boost::json::object> CloseStdin(Message request);

  AgentState& state_;
  ProcessTable& table_;
};

}  // namespace tinderbox::agent
