// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "api/answer.h"
#include "net/http_server.h"

// Web browsers as clients. Pages of every origin may call the control API (CORS, as E2B has it):
// they need an API key like everybody else. But a page must not reach a daemon on loopback under
// the page's own name (DNS rebinding).
namespace tinderbox::api {

// Fields of every response that a page of any origin may read.
net::HeaderList CorsHeaders();

// Whether the request only asks what a page may do (a CORS preflight). Browsers send no key with
// it.
bool IsPreflight(const net::RequestHead& head);

// The response to every preflight. It depends on nothing, and so tells nothing.
Answer PreflightAnswer();

// Which names may stand in `Host` if the listener is on loopback. A page can make its own name
// resolve to 127.0.0.1, but it cannot change the name that the browser then sends. An immutable
// value.
class HostNames {
 public:
  // `domain` (which may carry a port) and `allowed` are host names of this daemon. All names below
  // them belong to it, too.
  HostNames(std::string_view domain, const std::vector<std::string>& allowed);

  // `host` as in the header. Good: localhost and what is below it, IP literals of loopback, the
  // names given above, and no name at all. Ports do not count.
  bool Allow(std::string_view host) const;

 private:
  std::vector<std::string> names_;
};

// The response to a request with any other Host.
Answer ForeignHostAnswer(std::string_view host);

// Whether `address`, an IP literal, is one of loopback.
bool IsLoopback(const std::string& address);

}  // namespace tinderbox::api
