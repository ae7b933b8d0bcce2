// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <string>

#include "agent/file_service.h"
#include "agent/filesystem_service.h"
#include "agent/freeze.h"
#include "agent/metrics.h"
#include "agent/process_service.h"
#include "agent/process_table.h"
#include "agent/state.h"
#include "agent/user_processes.h"
#include "agent/volumes.h"
#include "net/http_server.h"

namespace tinderbox::agent {

// The envd API of one guest: routes requests to the services and checks who may call. Belongs to
// the one thread of its io_context.
class Agent {
 public:
  explicit Agent(boost::asio::io_context& io, AgentState state);

  base::Result<std::uint16_t> Listen(const std::string& address, std::uint16_t port);
  net::Task<> Stop(base::Deadline deadline) { return server_.Stop(deadline); }

 private:
  net::Task<> Serve(net::Exchange& exchange);
  net::Task<> ServeAuthorized(net::Exchange& exchange);
  net::Task<> ServeFreeze(net::Exchange& exchange);
  net::Task<> ServeEnvs(net::Exchange& exchange);

  AgentState state_;
  Freeze freeze_;
  Freeze process_freeze_;
  Volumes volumes_;
  Metrics metrics_;
  ProcessTable processes_;
  ProcessService process_service_;
  FilesystemService filesystem_service_;
  FileService file_service_;
  net::HttpServer server_;
};

}  // namespace tinderbox::agent
