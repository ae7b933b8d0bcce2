// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/agent.h"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "base/base64.h"

namespace tinderbox::cli {

namespace json = boost::json;

Agent::Agent(const Session& session, std::string sandbox, std::string token, std::string user)
    : session_(session),
      sandbox_(std::move(sandbox)),
      token_(std::move(token)),
      user_(std::move(user)) {}

namespace {

// Whether traffic alone wakes it.
bool ResumesItself(const json::value& detail) {
  const json::object* object = detail.if_object();
  const json::value* lifecycle = object ? object->if_contains("lifecycle") : nullptr;
  const json::value* resumes = lifecycle && lifecycle->is_object()
                                   ? lifecycle->get_object().if_contains("autoResume")
                                   : nullptr;
  return resumes && resumes->is_bool() && resumes->get_bool() &&
         TextAt(detail, "state") == "paused";
}

}  // namespace

base::Result<Agent> Agent::Find(Session& session, const std::string& sandbox, std::string user) {
  const json::value detail = TRY(session.CallJson("GET", "/sandboxes/" + sandbox));
  if (const std::string state = TextAt(detail, "state");
      state != "running" && !ResumesItself(detail)) {
    base::Error error(base::Code::kFailedPrecondition,
                      fmt::format("sandbox '{}' is {}, not running", sandbox, state));
    if (state != "paused") return std::unexpected(std::move(error));
    return std::unexpected(
        std::move(error).WithRemedy(fmt::format("Resume it: tinderbox resume {}", sandbox)));
  }
  return Agent(session, sandbox, TextAt(detail, "envdAccessToken"), std::move(user));
}

net::HttpHeaders Agent::Headers() const {
  net::HttpHeaders headers = {
      {"User-Agent", "tinderbox-cli"}, {"E2b-Sandbox-Id", sandbox_}, {"E2b-Sandbox-Port", "49983"}};
  if (!token_.empty()) headers.push_back({"X-Access-Token", token_});
  if (!user_.empty()) {
    headers.push_back({"Authorization", "Basic " + base::EncodeBase64(user_ + ":")});
  }
  return headers;
}

base::Result<net::HttpClient> Agent::Connect(base::Deadline deadline) const {
  return session_.Connect(deadline);
}

base::Result<json::value> Agent::Call(const std::string& path, const json::value& request,
                                      base::Deadline deadline) {
  if (!client_ || !client_->reusable()) client_ = TRY(Connect(deadline));
  return net::CallConnect(*client_, path, Headers(), request, deadline);
}

base::Result<net::ConnectStream> Agent::Stream(const std::string& path, const json::value& request,
                                               base::Deadline deadline) const {
  net::HttpClient client = TRY(Connect(deadline));
  net::HttpHeaders headers = Headers();
  headers.push_back({"Keepalive-Ping-Interval", std::to_string(kSignOfLife.count())});
  return net::ConnectStream::Start(std::move(client), path, headers, request, deadline);
}

}  // namespace tinderbox::cli
