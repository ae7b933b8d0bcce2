// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/agent.h"

#include <boost/json.hpp>

#include "agent/init.h"
#include "agent/reseed.h"
#include "agent/rpc.h"
#include "agent/tunnel.h"
#include "base/log.h"

namespace tinderbox::agent {
namespace {

constexpr std::string_view kProcessService = "/process.Process/";
constexpr std::string_view kFilesystemService = "/filesystem.Filesystem/";
constexpr char kUnauthorized[] =
    "unauthorized access, please provide a valid access token or method signing if supported";

net::HttpLimits Limits() {
  net::HttpLimits limits;
  limits.connections = 1000;
  limits.idle_timeout = std::chrono::minutes(10);
  // An upload or an input stream may pause for long; a reader of a process's output for longer
  // still (somebody holds the page with Ctrl-S). Memory is bounded either way.
  limits.body_timeout = std::chrono::minutes(5);
  limits.write_timeout = std::chrono::hours(1);
  return limits;
}

bool IsFreezeRoute(const net::RequestHead& head) {
  return head.method == "POST" &&
         (head.path == "/freeze" || head.path == "/fsfreeze" || head.path == "/fsthaw");
}

// Null if the agent is an ordinary process, which must not stop its host's, or if the kernel cannot
// do it.
std::unique_ptr<UserProcesses> OpenUserProcesses(AgentState& state) {
  if (!state.host_only_routes) return nullptr;
  OpenRandomDevice();
  auto opened = UserProcesses::Open();
  if (!opened) {
    base::LogWarning("processes cannot be frozen", {{"error", opened.error().ToString()}});
    return nullptr;
  }
  state.user_processes = opened->get();
  return *std::move(opened);
}

net::Task<> ServePreflight(net::Exchange& exchange) {
  net::HeaderList headers = AnswerHeaders("");
  headers.Add("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
  const std::string_view asked = exchange.head().headers.Get("Access-Control-Request-Headers");
  headers.Add("Access-Control-Allow-Headers", asked.empty() ? "*" : std::string(asked));
  headers.Add("Access-Control-Max-Age", "7200");
  (void)co_await exchange.Respond(204, std::move(headers), "");
}

}  // namespace

Agent::Agent(boost::asio::io_context& io, AgentState state)
    : state_(std::move(state)),
      // An agent that is an ordinary process must not hold its host's disk still.
      freeze_(io.get_executor(), state_.host_only_routes ? FreezableFilesystem("/") : nullptr),
      process_freeze_(io.get_executor(), OpenUserProcesses(state_)),
      processes_(io.get_executor()),
      process_service_(state_, processes_),
      filesystem_service_(state_),
      file_service_(state_),
      server_(io, Limits(), [this](net::Exchange& exchange) { return Serve(exchange); }) {
  state_.freeze = &freeze_;
  state_.process_freeze = &process_freeze_;
  state_.volumes = &volumes_;
}

base::Result<std::uint16_t> Agent::Listen(const std::string& address, std::uint16_t port) {
  return server_.ListenTcp(address, port);
}

net::Task<> Agent::Serve(net::Exchange& exchange) {
  const net::RequestHead& head = exchange.head();
  if (head.method == "OPTIONS") co_return co_await ServePreflight(exchange);
  if (head.path == "/health" && (head.method == "GET" || head.method == "HEAD")) {
    net::HeaderList headers = AnswerHeaders("");
    headers.Add("Cache-Control", "no-store");
    (void)co_await exchange.Respond(204, std::move(headers), "");
    co_return;
  }
  if (head.path == "/init" && head.method == "POST") co_return co_await ServeInit(exchange, state_);
  if (head.path == "/tunnel" && head.method == "POST") {
    co_return co_await ServeTunnel(exchange, state_);
  }
  if (head.path == "/volume" && head.method == "POST") {
    co_return co_await volumes_.Serve(exchange, state_);
  }
  if (IsFreezeRoute(head)) co_return co_await ServeFreeze(exchange);
  // The one route that also takes a signature instead of the token; it checks for itself.
  if (head.path == "/files") co_return co_await file_service_.Serve(exchange);
  if (state_.access_token &&
      !SameSecret(head.headers.Get("X-Access-Token"), *state_.access_token)) {
    co_return co_await RespondError(exchange, 401, kUnauthorized);
  }
  co_await ServeAuthorized(exchange);
}

net::Task<> Agent::ServeAuthorized(net::Exchange& exchange) {
  const net::RequestHead& head = exchange.head();
  const std::string_view path = head.path;
  if (head.method == "POST" && path.starts_with(kProcessService)) {
    co_return co_await process_service_.Serve(exchange, path.substr(kProcessService.size()));
  }
  if (head.method == "POST" && path.starts_with(kFilesystemService)) {
    co_return co_await filesystem_service_.Serve(exchange, path.substr(kFilesystemService.size()));
  }
  if (head.method == "GET" && path == "/envs") co_return co_await ServeEnvs(exchange);
  if (head.method == "GET" && path == "/metrics") {
    net::HeaderList headers = AnswerHeaders("application/json");
    headers.Add("Cache-Control", "no-store");
    (void)co_await exchange.Respond(200, std::move(headers), metrics_.Json());
    co_return;
  }
  if (head.method == "POST" && path == "/files/compose") {
    co_return co_await file_service_.ServeCompose(exchange);
  }
  co_await RespondError(exchange, 404, "no such route");
}

net::Task<> Agent::ServeFreeze(net::Exchange& exchange) {
  if (!co_await AdmitHost(exchange, state_)) co_return;
  const std::string_view path = exchange.head().path;
  base::Result<> done;
  if (path == "/freeze") {
    done = co_await process_freeze_.Begin();
  } else {
    done = path == "/fsthaw" ? co_await freeze_.End() : co_await freeze_.Begin();
  }
  if (!done) co_return co_await RespondError(exchange, 500, done.error().ToString());
  (void)co_await exchange.Respond(204, AnswerHeaders(""), "");
}

net::Task<> Agent::ServeEnvs(net::Exchange& exchange) {
  boost::json::object env;
  for (const auto& [key, value] : state_.env) env[key] = value;
  net::HeaderList headers = AnswerHeaders("application/json");
  headers.Add("Cache-Control", "no-store");
  (void)co_await exchange.Respond(200, std::move(headers), boost::json::serialize(env));
}

}  // namespace tinderbox::agent
