// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "api/answer.h"
#include "api/sandbox_address.h"
#include "base/error.h"
#include "net/http_server.h"

// The texts of the proxy: heads that it passes on, and answers of its own.
namespace tinderbox::api {

// True where the client asks to leave HTTP (WebSocket and the like).
bool WantsUpgrade(const net::RequestHead& head);

struct RequestFraming {
  bool chunked = false;
  std::optional<std::uint64_t> length;  // none, and not chunked: no body and no word of one
};
// The request as the guest gets it: without the fields that concern one connection only, and
// without the API key and the traffic token, which are none of the guest's business. `host` is what
// it reads as Host; empty: what the client sent.
std::string UpstreamRequest(const net::RequestHead& head, RequestFraming framing,
                            std::string_view host = {});

// An answer's fields without those that concern one connection only.
net::HeaderList EndToEnd(const net::HeaderList& headers);

// The answers of the proxy itself, literally as E2B's (its Python client tells by their texts what
// has become of a sandbox). A browser that navigates gets a page instead.
enum class ProxyProblem {
  kNotFound,      // 502 "The sandbox was not found"
  kPortClosed,    // 502 "The sandbox is running but port is not open"
  kNoAnswer,      // 502, the connection ended without an answer
  kNoHttp,        // 502, what came was no HTTP
  kTooSlow,       // 504
  kTooMany,       // 429
  kNoSpace,       // 507, a write of its disk waits for free space on the host
  kHiddenRoute,   // 404
  kTokenMissing,  // 403, its ports are not public
  kTokenWrong,    // 403
  kNoTls,         // 502, the port was said to speak TLS
};
Answer ProxyAnswer(ProxyProblem problem, const SandboxAddress& address,
                   const net::HeaderList& request);

}  // namespace tinderbox::api
