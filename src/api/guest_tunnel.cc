// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/guest_tunnel.h"

#include <fmt/format.h>

#include "api/sandbox_address.h"
#include "net/upgrade.h"

namespace tinderbox::api {

base::Result<sys::UniqueFd> DialLoopback(sandbox::Manager& manager, const std::string& id,
                                         std::uint16_t port, base::Deadline deadline) {
  const sandbox::SandboxInfo info = TRY(manager.Get(id));
  sys::UniqueFd fd = TRY(manager.Dial(id, kAgentPort, deadline));
  const std::string request = fmt::format(
      "POST /tunnel?port={} HTTP/1.1\r\nHost: agent\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
      "X-Access-Token: {}\r\nContent-Length: 0\r\n\r\n",
      port, info.access_token);
  if (!net::RequestUpgrade(fd, request, deadline)) {
    return base::Fail(base::Code::kUnavailable,
                      fmt::format("port {} of sandbox '{}' is not open", port, id));
  }
  return fd;
}

}  // namespace tinderbox::api
