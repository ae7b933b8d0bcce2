// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/proxy_headers.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "api/port_access.h"

namespace tinderbox::api {
namespace {

// RFC 9110 §7.6.1, and what the receiving side sets itself.
constexpr std::string_view kConnectionFields[] = {
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
};

bool IsConnectionField(std::string_view name, const net::HeaderList& headers) {
  for (const std::string_view field : kConnectionFields) {
    if (net::EqualsIgnoreCase(name, field)) return true;
  }
  return headers.HasToken("Connection", name);
}

bool IsOurs(std::string_view name) {
  for (const std::string_view field :
       {std::string_view("Content-Length"), std::string_view("Expect"),
        std::string_view("X-API-KEY"), kTrafficTokenHeader}) {
    if (net::EqualsIgnoreCase(name, field)) return true;
  }
  return false;
}

struct Words {
  unsigned status;
  std::string_view message;
};

Words WordsOf(ProxyProblem problem) {
  switch (problem) {
    case ProxyProblem::kNotFound: return {502, "The sandbox was not found"};
    case ProxyProblem::kPortClosed: return {502, "The sandbox is running but port is not open"};
    case ProxyProblem::kNoAnswer:
      return {502, "The sandbox closed the connection without an answer"};
    case ProxyProblem::kNoHttp: return {502, "The sandbox's answer is not HTTP/1.1"};
    case ProxyProblem::kTooSlow: return {504, "The sandbox did not answer in time"};
    case ProxyProblem::kTooMany: return {429, "Too many connections to the sandbox"};
    case ProxyProblem::kNoSpace:
      return {507, "The sandbox is stopped: the host has no free disk space for it"};
    case ProxyProblem::kHiddenRoute: return {404, "Not found"};
    case ProxyProblem::kTokenMissing:
      return {403, "The sandbox is not public and the header e2b-traffic-access-token is missing"};
    case ProxyProblem::kTokenWrong:
      return {403, "The sandbox is not public and the traffic access token is invalid"};
    case ProxyProblem::kNoTls: return {502, "The sandbox's port does not speak TLS"};
  }
  return {502, "The sandbox cannot be reached"};
}

}  // namespace

bool WantsUpgrade(const net::RequestHead& head) {
  return !head.http_1_0 && head.headers.HasToken("Connection", "upgrade") &&
         !head.headers.Get("Upgrade").empty();
}

std::string UpstreamRequest(const net::RequestHead& head, RequestFraming framing,
                            std::string_view host) {
  std::string text = fmt::format("{} {}{}{} HTTP/1.1\r\n", head.method, head.path,
                                 head.query.empty() ? "" : "?", head.query);
  const bool upgrade = WantsUpgrade(head);
  if (!host.empty()) text.append("Host: ").append(host).append("\r\n");
  bool has_host = !host.empty();
  for (const auto& [name, value] : head.headers) {
    if (IsConnectionField(name, head.headers) || IsOurs(name)) continue;
    const bool is_host = net::EqualsIgnoreCase(name, "Host");
    if (is_host && !host.empty()) continue;
    has_host = has_host || is_host;
    text.append(name).append(": ").append(value).append("\r\n");
  }
  if (!has_host) text += "Host: localhost\r\n";
  if (framing.chunked) text += "Transfer-Encoding: chunked\r\n";
  if (framing.length) text += fmt::format("Content-Length: {}\r\n", *framing.length);
  if (upgrade) {
    text += fmt::format("Connection: Upgrade\r\nUpgrade: {}\r\n", head.headers.Get("Upgrade"));
  }
  return text += "\r\n";
}

net::HeaderList EndToEnd(const net::HeaderList& headers) {
  net::HeaderList kept;
  for (const auto& [name, value] : headers) {
    if (!IsConnectionField(name, headers)) kept.Add(name, value);
  }
  return kept;
}

Answer ProxyAnswer(ProxyProblem problem, const SandboxAddress& address,
                   const net::HeaderList& request) {
  const auto [status, message] = WordsOf(problem);
  if (request.Get("Sec-Fetch-Mode") == "navigate") {
    // Ids and messages are of [a-z0-9 ] and need no escaping.
    return TextAnswer(status, "text/html; charset=utf-8",
                      fmt::format("<!doctype html><title>{0}</title><h1>{0}</h1>"
                                  "<p>Sandbox <code>{1}</code>, port {2}.</p>\n",
                                  message, address.id, address.port));
  }
  if (problem == ProxyProblem::kHiddenRoute) {
    return JsonAnswer(status, {{"code", status}, {"message", message}});
  }
  boost::json::object body{{"sandboxId", address.id}, {"message", message}};
  if (problem == ProxyProblem::kPortClosed) body["port"] = address.port;
  body["code"] = status;
  return JsonAnswer(status, std::move(body));
}

}  // namespace tinderbox::api
