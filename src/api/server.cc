// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/server.h"

#include <fmt/format.h>

#include <boost/asio/post.hpp>
#include <exception>
#include <utility>
#include <variant>

#include "api/error_map.h"
#include "api/signed_url.h"
#include "base/log.h"

namespace tinderbox::api {
namespace {

using base::Code;
using base::Result;

constexpr std::size_t kControlBody = 1 << 20;

net::HttpLimits LimitsOf(const ServerOptions& options) {
  net::HttpLimits limits;
  limits.connections = options.connections;
  limits.body_bytes = kControlBody;
  // A reader may pause for as long as somebody looks at `… | less`; its flow holds little.
  limits.write_timeout = std::chrono::hours(1);
  return limits;
}

net::Task<> Send(net::Exchange& exchange, Answer answer) {
  (void)co_await exchange.Respond(answer.status, std::move(answer.headers), std::move(answer.body));
}

// Runs on a worker's thread, where an exception would end the process.
Result<Answer> RunHandler(const Route& route, ControlContext& context, const Request& request) {
  try {
    return route.handler(context, request);
  } catch (const std::exception& e) {
    base::LogError("handle request: unexpected exception",
                   {{"route", route.pattern}, {"what", e.what()}});
    return ErrorAnswer(Code::kInternal, "the request could not be handled");
  }
}

// Out of the coroutines: g++ 12 takes no initializer lists inside an expression that awaits.
Answer Healthy() { return JsonAnswer(200, {{"status", "ok"}}); }

Answer TooLarge() {
  return JsonAnswer(
      413, {{"code", 413},
            {"message", fmt::format("the request's body is larger than {} bytes", kControlBody)}});
}

// What is our own fault, or the host's, belongs into the log; the rest is between the client and
// us.
void LogFault(const net::RequestHead& head, const Answer& answer) {
  if (answer.status < 500 || answer.status == 501) return;
  base::LogWarning("request failed", {{"method", head.method},
                                      {"path", head.path.substr(0, 200)},
                                      {"status", answer.status},
                                      {"answer", answer.body.substr(0, 1000)}});
}

Answer NoRoute(const net::RequestHead& head, const RouteMatch& match) {
  if (match.allowed.empty()) {
    return ErrorAnswer(Code::kNotFound,
                       fmt::format("no such route: {} {}", head.method, head.path.substr(0, 200)));
  }
  Answer answer = JsonAnswer(
      405,
      {{"code", 405},
       {"message", fmt::format("{} does not take {}", head.path.substr(0, 200), head.method)}});
  std::string allowed;
  for (const std::string& method : match.allowed) {
    if (!allowed.empty()) allowed += ", ";
    allowed += method;
  }
  answer.headers.Add("Allow", allowed);
  answer.headers.Add("Should-Retry", "false");
  return answer;
}

}  // namespace

Server::Server(boost::asio::io_context& io, sandbox::Manager& manager, store::Store& store,
               secret::Vault& secrets, volume::Volumes& volumes, HostView& host,
               ServerOptions options)
    : io_(io),
      manager_(manager),
      routes_(ControlRoutes()),
      proxy_(io, manager, options.proxy),
      context_{manager,
               store,
               secrets,
               host,
               options.domain,
               {},
               MetricSampler(manager, options.metrics),
               &volumes},
      quick_("control", options.quick_threads, options.waiting),
      slow_("slow", options.slow_threads, options.waiting),
      auth_(store, quick_),
      volume_content_(volumes, options.volume_threads, options.waiting),
      cors_(options.cors),
      host_names_(options.domain, options.allowed_hosts),
      tcp_(io, LimitsOf(options), [this](net::Exchange& e) { return Handle(e); }),
      local_(io, LimitsOf(options), [this](net::Exchange& e) { return Handle(e); }) {
  manager_.OnGone([this](const std::string& id) {
    boost::asio::post(io_, [this, id] { proxy_.SandboxGone(id); });
  });
}

Server::~Server() { manager_.OnGone({}); }

Result<std::uint16_t> Server::ListenTcp(const std::string& address, std::uint16_t port,
                                        net::TlsAcceptor tls) {
  on_loopback_ = IsLoopback(address);
  return tcp_.ListenTcp(address, port, std::move(tls));
}

Result<> Server::ListenUnix(const std::string& path, mode_t mode) {
  return local_.ListenUnix(path, mode);
}

net::Task<> Server::Stop(base::Deadline deadline) {
  manager_.OnGone({});
  proxy_.Stop();
  co_await tcp_.Stop(deadline);
  co_await local_.Stop(deadline);
}

// The checks and preflights for browsers. They come before everything else.
std::optional<Answer> Server::AnswerBrowser(net::Exchange& exchange, const Address& address) {
  const net::RequestHead& head = exchange.head();
  const std::string_view host = head.headers.Get("Host");
  if (on_loopback_ && !exchange.peer().is_unix && !host_names_.Allow(host)) {
    return ForeignHostAnswer(host);
  }
  // On other ports than the agent's there are servers of the guest, with a mind of their own.
  const auto* sandbox = std::get_if<SandboxAddress>(&address);
  if (!cors_ || (sandbox != nullptr && sandbox->port != kAgentPort)) return std::nullopt;
  if (IsPreflight(head)) return PreflightAnswer();
  exchange.SetCommonHeaders(CorsHeaders());
  return std::nullopt;
}

net::Task<> Server::Handle(net::Exchange& exchange) {
  Address address = AddressOf(exchange.head(), context_.domain);
  if (auto answer = AnswerBrowser(exchange, address)) {
    co_return co_await Send(exchange, *std::move(answer));
  }
  if (auto* sandbox = std::get_if<SandboxAddress>(&address)) {
    co_return co_await proxy_.Forward(exchange, std::move(*sandbox));
  }
  if (const auto* bad = std::get_if<MalformedAddress>(&address)) {
    co_return co_await Send(exchange, TextAnswer(400, "text/plain; charset=utf-8", bad->why));
  }
  if (IsSignedFileRequest(exchange.head())) co_return co_await SignedFile(exchange);
  if (VolumeContent::IsRequest(exchange.head())) {
    co_return co_await volume_content_.Serve(exchange);
  }
  co_await Control(exchange);
}

// The signature stands in for both the API key and the sandbox's name.
net::Task<> Server::SignedFile(net::Exchange& exchange) {
  Result<std::string> signer =
      co_await quick_.Run([this, head = exchange.head()]() -> Result<std::string> {
        return SignerOf(head, manager_.List());
      });
  if (!signer) co_return co_await Send(exchange, ErrorAnswer(signer.error()));
  SandboxAddress address;
  address.id = *std::move(signer);
  address.port = kAgentPort;
  co_await proxy_.Forward(exchange, std::move(address));
}

net::Task<> Server::Control(net::Exchange& exchange) {
  const net::RequestHead& head = exchange.head();
  if (head.path == "/health" && (head.method == "GET" || head.method == "HEAD")) {
    co_return co_await Send(exchange, Healthy());
  }
  const RouteMatch match = FindRoute(routes_, head.method, head.path);
  // The key first: without it nobody learns what is here.
  const Result<> known = co_await auth_.Check(head.headers, exchange.peer());
  if (!known) co_return co_await Send(exchange, ErrorAnswer(known.error()));
  if (match.route == nullptr) co_return co_await Send(exchange, NoRoute(head, match));
  Result<Answer> answer = co_await Serve(exchange, match);
  if (!answer && exchange.disconnected()) co_return;
  Answer told = answer ? std::move(*answer) : ErrorAnswer(answer.error());
  LogFault(head, told);
  co_await Send(exchange, std::move(told));
}

// Once begun, the handler runs to its end, whatever becomes of the client.
net::AsyncResult<Answer> Server::Serve(net::Exchange& exchange, const RouteMatch& match) {
  const net::RequestHead& head = exchange.head();
  auto body = co_await exchange.ReadBody(kControlBody);
  if (!body && body.error().code() == Code::kResourceExhausted) {
    co_return TooLarge();
  }
  if (!body) co_return std::unexpected(std::move(body).error());
  Request request{.method = head.method,
                  .path = head.path,
                  .params = match.params,
                  .query = net::ParseQuery(head.query),
                  .headers = head.headers,
                  .body = std::move(*body),
                  .local_root = IsLocalRoot(exchange.peer())};
  WorkerPool& pool = match.route->lane == Lane::kSlow ? slow_ : quick_;
  co_return co_await pool.Run(
      [this, route = match.route, request = std::move(request)]() -> Result<Answer> {
        return RunHandler(*route, context_, request);
      });
}

}  // namespace tinderbox::api
