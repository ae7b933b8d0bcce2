// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

#include "net/http_server.h"

namespace tinderbox::api {

inline constexpr std::uint16_t kAgentPort = 49983;

// A request for a port of a sandbox.
struct SandboxAddress {
  std::string id;
  std::uint16_t port = 0;
  bool operator==(const SandboxAddress&) const = default;
};
struct ControlAddress {  // a request for the control API
  bool operator==(const ControlAddress&) const = default;
};
struct MalformedAddress {  // meant for a sandbox, but nobody can tell which
  std::string why;
  bool operator==(const MalformedAddress&) const = default;
};
using Address = std::variant<ControlAddress, SandboxAddress, MalformedAddress>;

// The name of "name:port", in lower case; an IPv6 literal keeps its brackets.
std::string HostName(std::string_view host);

// Where a request goes. A Host "<port>-<id>[-…].<domain>" decides, then the header E2b-Sandbox-Id
// with E2b-Sandbox-Port (the agent's port where that is absent); what has neither is for the
// control API. `domain` may carry a port, which does not count.
Address AddressOf(const net::RequestHead& head, std::string_view domain);

// True for the routes of the agent that are the host's alone (/init, /freeze, …), however `path`
// spells them.
bool IsHiddenAgentPath(std::string_view path);

}  // namespace tinderbox::api
