// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "agent/users.h"
#include "base/error.h"

namespace tinderbox::agent {

class Freeze;
class UserProcesses;
class Volumes;

// What the host has told the agent about the sandbox (POST /init). One per agent, on its one
// thread.
struct AgentState {
  // True where there is a host, which alone may call /init, /freeze, /fsfreeze, /fsthaw, /tunnel
  // and /volume: as process 1 of a VM. Requests that come from the guest itself are then refused
  // there.
  bool host_only_routes = false;
  std::optional<std::string> access_token;
  std::map<std::string, std::string> env = {{"E2B_SANDBOX", "true"}};
  std::string default_user;  // empty: "user" where there is one, else root
  std::string default_workdir;
  Freeze* freeze = nullptr;          // of the file system; the agent's, set by it
  Freeze* process_freeze = nullptr;  // of the user processes; likewise
  // The processes that it freezes; null if the agent is not process 1 of a VM, or its kernel cannot
  // do it.
  UserProcesses* user_processes = nullptr;
  Volumes* volumes = nullptr;  // the agent's; set by it
};

// The user that a request means: `name`, or the default where it is empty. kUnauthenticated for one
// that does not exist.
base::Result<User> RequestUser(const AgentState& state, std::string_view name);

// The name in an "Authorization: Basic" header; empty for no header, kUnauthenticated for a broken
// one.
base::Result<std::string> BasicAuthUser(std::string_view authorization);

// Compares in time that does not depend on where the two differ.
bool SameSecret(std::string_view a, std::string_view b);

}  // namespace tinderbox::agent
