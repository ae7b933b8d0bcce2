// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "agent/state.h"
#include "agent/users.h"
#include "net/http_server.h"

namespace tinderbox::agent {

// GET and POST /files: whole files in and out, as root, owned by the user whom the request names.
class FileService {
 public:
  explicit FileService(AgentState& state) : state_(state) {}

  net::Task<> Serve(net::Exchange& exchange);
  net::Task<> ServeCompose(net::Exchange& exchange);

 private:
  AgentState& state_;
};

}  // namespace tinderbox::agent
