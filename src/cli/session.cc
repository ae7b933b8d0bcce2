// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/session.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <cstdlib>
#include <vector>

#include "cli/quote.h"
#include "net/connect_client.h"

namespace tinderbox::cli {
namespace {

namespace json = boost::json;
using base::Code;

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : value;
}

// What a user can do about a daemon that cannot be reached.
base::Error Unreachable(base::Error error, const net::Endpoint& endpoint) {
  if (endpoint.unix_path.empty()) {
    return base::Error(error.code(),
                       fmt::format("the daemon does not answer: {}", error.ToString()))
        .WithRemedy(
            "Check TINDERBOX_HOST (or --host), and that the daemon runs there: sudo tinderboxd "
            "run");
  }
  if (error.errno_value() == EACCES || error.errno_value() == EPERM) {
    return base::Error(Code::kPermissionDenied,
                       fmt::format("no access to the daemon's socket {}", endpoint.unix_path))
        .WithRemedy(
            "Run this as root (sudo), or set TINDERBOX_HOST=http://127.0.0.1:3000 and "
            "TINDERBOX_API_KEY to a key that root made with: tinderbox env");
  }
  return base::Error(error.code(), fmt::format("the daemon is not running: {}", error.ToString()))
      .WithRemedy(
          "Start it: sudo systemctl start tinderboxd, or in the foreground: sudo tinderboxd run");
}

}  // namespace

std::string TextAt(const json::value& object, std::string_view key) {
  const json::object* members = object.if_object();
  const json::value* found = members ? members->if_contains({key.data(), key.size()}) : nullptr;
  return found && found->is_string() ? std::string(found->get_string()) : std::string();
}

std::int64_t NumberAt(const json::value& object, std::string_view key) {
  const json::object* members = object.if_object();
  const json::value* found = members ? members->if_contains({key.data(), key.size()}) : nullptr;
  boost::system::error_code ignored;
  return found && found->is_number() ? found->to_number<std::int64_t>(ignored) : 0;
}

Session::Session(net::Endpoint endpoint, std::string api_key, bool as_json)
    : endpoint_(std::move(endpoint)), api_key_(std::move(api_key)), json_(as_json) {}

base::Result<Session> Session::FromEnvironment(const GlobalOptions& options) {
  std::string host = options.host.empty() ? Environment("TINDERBOX_HOST") : options.host;
  if (host.empty()) host = kDefaultHost;
  std::string key = Environment("TINDERBOX_API_KEY");
  if (key.empty()) key = Environment("E2B_API_KEY");
  auto endpoint = net::ParseEndpoint(host);
  if (!endpoint) {
    return std::unexpected(
        std::move(endpoint)
            .error()
            .WithContext("daemon's address")
            .WithRemedy("Set --host or TINDERBOX_HOST to unix:///path or http://host:port."));
  }
  return Session(std::move(*endpoint), std::move(key), options.json);
}

base::Result<net::HttpClient> Session::Connect(base::Deadline deadline) const {
  // An unreachable host must not hang the user for the whole of a long call.
  auto client = net::HttpClient::Connect(
      endpoint_, deadline.Earlier(base::Deadline::After(std::chrono::seconds(10))));
  if (!client) return std::unexpected(Unreachable(std::move(client).error(), endpoint_));
  return client;
}

base::Result<net::HttpResponse> Session::Call(std::string_view method, std::string target,
                                              const std::optional<json::value>& body,
                                              base::Deadline deadline) {
  if (!client_ || !client_->reusable()) client_ = TRY(Connect(deadline));
  net::HttpRequest request{.method = std::string(method), .target = std::move(target)};
  request.headers.push_back({"User-Agent", "tinderbox-cli"});
  if (!api_key_.empty()) request.headers.push_back({"X-API-KEY", api_key_});
  if (body) {
    request.headers.push_back({"Content-Type", "application/json"});
    request.body = json::serialize(*body);
  }
  constexpr std::size_t kMaxAnswer = std::size_t{64} << 20;
  net::HttpResponse response = TRY(client_->Request(request, deadline, kMaxAnswer));
  if (response.status >= 200 && response.status < 300) return response;
  base::Error error = net::ErrorFromResponse(response.status, response.body);
  if (response.status == 401 && error.remedy().empty()) {
    error = std::move(error).WithRemedy(
        "Set TINDERBOX_API_KEY to a key of this daemon; root gets one with: tinderbox env");
  }
  return std::unexpected(std::move(error));
}

base::Result<json::value> Session::CallJson(std::string_view method, std::string target,
                                            const std::optional<json::value>& body,
                                            base::Deadline deadline) {
  const std::string what = fmt::format("{} {}", method, target);
  const net::HttpResponse response = TRY(Call(method, std::move(target), body, deadline));
  boost::system::error_code error;
  json::value answer = json::parse(response.body, error);
  if (error) {
    return base::Fail(Code::kDataLoss, fmt::format("{}: the answer is not JSON", what));
  }
  return answer;
}

base::Result<json::array> Session::ListSandboxes() {
  json::value answer = TRY(CallJson("GET", "/tinderbox/v1/sandboxes"));
  if (!answer.is_array()) {
    return base::Fail(Code::kDataLoss, "list sandboxes: the answer is no JSON array");
  }
  return std::move(answer.get_array());
}

base::Result<std::string> FindSandbox(const json::array& sandboxes, std::string_view reference) {
  std::vector<std::string> named;
  std::vector<std::string> begun;
  for (const json::value& sandbox : sandboxes) {
    const std::string id = TextAt(sandbox, "sandboxID");
    if (id == reference) return id;
    const json::object* members = sandbox.if_object();
    const json::value* metadata = members ? members->if_contains("metadata") : nullptr;
    if (metadata && TextAt(*metadata, "name") == reference) named.push_back(id);
    if (id.starts_with(reference)) begun.push_back(id);
  }
  const std::vector<std::string>& found = named.empty() ? begun : named;
  if (found.size() == 1) return found.front();
  if (found.empty()) {
    return std::unexpected(
        base::Error(Code::kNotFound, fmt::format("no sandbox '{}'", Printable(reference)))
            .WithRemedy("tinderbox ls shows those that are there."));
  }
  return std::unexpected(
      base::Error(
          Code::kInvalidArgument,
          fmt::format(
              "'{}' may mean {} sandboxes: {}", Printable(reference), found.size(),
              fmt::join(found.begin(),
                        found.begin() + std::min<std::ptrdiff_t>(std::ssize(found), 5), ", ")))
          .WithRemedy("Give more of the id."));
}

base::Result<std::string> Session::Resolve(const std::string& reference) {
  if (reference.empty()) return base::Fail(Code::kInvalidArgument, "an empty name of a sandbox");
  // A whole id needs no list.
  constexpr std::size_t kIdSize = 21;
  const bool whole = reference.size() == kIdSize && reference.front() == 'i' &&
                     std::ranges::all_of(reference, [](char c) {
                       return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
                     });
  if (whole) return reference;
  return FindSandbox(TRY(ListSandboxes()), reference);
}

}  // namespace tinderbox::cli
