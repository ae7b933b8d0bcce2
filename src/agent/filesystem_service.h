// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "agent/rpc.h"
#include "agent/state.h"
#include "agent/watch_service.h"
#include "net/http_server.h"

namespace tinderbox::agent {

// The RPC service filesystem.Filesystem (src/schema/filesystem/filesystem.proto). Acts as root, as
// E2B's does: no permission is checked for the user, who only decides what a relative path means
// and who owns what is made.
class FilesystemService {
 public:
  explicit FilesystemService(AgentState& state) : state_(state), watches_(state) {}

  // Serves /filesystem.Filesystem/METHOD.
  net::Task<> Serve(net::Exchange& exchange, std::string_view method);

 private:
  using Answer = RpcResult<boost::json::object>;

  Answer Call(std::string_view method, const Message& request, std::string_view authorization);
  Answer Stat(const std::string& path);
  Answer ListDir(const std::string& path, const Message& request);
  Answer MakeDir(const std::string& path, const User& user);
  Answer Move(const std::string& source, const std::string& destination, const User& user);
  Answer Remove(const std::string& path);

  AgentState& state_;
  WatchService watches_;
};

// Makes `path` and what is missing above it, mode 0755, owned by `user`.
base::Result<> MakeOwnedDirs(const std::string& path, const User& user);

}  // namespace tinderbox::agent
