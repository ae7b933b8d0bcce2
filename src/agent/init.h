// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ctime>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "agent/state.h"
#include "base/error.h"
#include "net/http_server.h"

// POST /init: the host tells the agent who the sandbox is, after every boot and every restore.
namespace tinderbox::agent {

struct InitRequest {
  std::optional<std::map<std::string, std::string>> env;  // replaces the whole default environment
  std::optional<std::string> access_token;
  std::optional<timespec> timestamp;
  std::optional<std::string> default_user;
  std::optional<std::string> default_workdir;
  std::optional<std::string> hostname;
  std::optional<std::string> machine_id;   // 32 lower-case hexadecimal digits
  std::optional<std::string> certificate;  // of an authority to trust (PEM)
  bool detach_volumes = false;             // those that another life of this memory had
  std::string entropy;                     // mixed into the kernel's random state as it is
};

base::Result<InitRequest> ParseInit(std::string_view body);

// "2026-11-24T03:00:00.123456789Z", also with an offset.
std::optional<timespec> ParseRfc3339(std::string_view text);

// Whether the guest's clock must be set: more than 50 ms behind the host or more than 5 s ahead.
bool ClockNeedsSetting(const timespec& guest, const timespec& host);

// Whether the host is asking, who names the token where one is set; answers 403 or 401 if not.
net::Task<bool> AdmitHost(net::Exchange& exchange, const AgentState& state);

// Serves the request; thaws a frozen file system first. Frozen processes go on at its end, if it
// brought entropy: then everything else is set. 500 if they are frozen and the kernel cannot be
// reseeded. With a token set, only who names it (X-Access-Token) may call again: 401.
net::Task<> ServeInit(net::Exchange& exchange, AgentState& state);

}  // namespace tinderbox::agent
