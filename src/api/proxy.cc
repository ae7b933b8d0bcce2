// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/proxy.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <limits>
#include <utility>
#include <vector>

#include "api/port_access.h"
#include "api/proxy_headers.h"
#include "net/relay.h"

namespace tinderbox::api {
namespace {

namespace asio = boost::asio;
using base::Code;
using base::Result;

constexpr std::size_t kBuffer = 64 << 10;
// A body up to here is read before the request goes out, so that both go in one piece.
constexpr std::uint64_t kSmallBody = 32 << 10;
// How often a request body's reader looks whether the answer is complete without it.
constexpr std::chrono::seconds kBodyLook{1};

bool IsIdempotent(std::string_view method) {
  return method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "PUT" ||
         method == "DELETE";
}

ProxyProblem ProblemOf(Code code) {
  switch (code) {
    case Code::kNotFound: return ProxyProblem::kNotFound;
    case Code::kResourceExhausted: return ProxyProblem::kTooMany;
    default: return ProxyProblem::kPortClosed;
  }
}

// Parameters by value: the coroutine may outlive the caller's expression.
net::Task<> Refuse(net::Exchange& exchange, SandboxAddress address, ProxyProblem problem) {
  Answer answer = ProxyAnswer(problem, address, exchange.head().headers);
  (void)co_await exchange.Respond(answer.status, std::move(answer.headers), std::move(answer.body));
}

}  // namespace

// One request on its way. Shared by its two coroutines and the list of flows.
struct Flow {
  Flow(asio::io_context& io, net::Exchange& e, SandboxAddress a, sandbox::PortAccess p)
      : exchange(e),
        address(std::move(a)),
        access(std::move(p)),
        head_timer(io),
        pump_ended(io, std::chrono::steady_clock::time_point::max()) {}

  void Reset() {
    gone = true;
    if (upstream) upstream->Close();
    if (relay) {
      relay->Reset();
    } else {
      exchange.Abort();
    }
  }

  net::Exchange& exchange;  // valid while the flow is in the proxy's list
  const SandboxAddress address;
  const sandbox::PortAccess access;
  std::shared_ptr<Upstream> upstream;
  std::shared_ptr<net::Relay> relay;
  bool reused = false;
  bool gone = false;  // its sandbox has ended, or we stop
  bool too_slow = false;
  bool no_tls = false;    // the guest's port was said to speak it
  bool no_space = false;  // the guest is stopped, or cannot be resumed, for want of disk space
  bool pumping = false;   // PumpRequest runs
  bool answered = false;  // the answer is complete: the rest of the request is of no interest
  std::string small_body;
  std::optional<base::Error> request_error;
  asio::steady_timer head_timer;
  asio::steady_timer pump_ended;
};

Proxy::Proxy(asio::io_context& io, sandbox::Manager& manager, ProxyOptions options)
    : io_(io), manager_(manager), options_(options), gate_(io, manager, options.dial), pool_(io) {}

Proxy::~Proxy() = default;

void Proxy::SandboxGone(const std::string& id) {
  pool_.Drop(id);
  // A copy: a reset may end flows.
  const std::vector<FlowPtr> all(flows_.begin(), flows_.end());
  for (const FlowPtr& flow : all) {
    if (flow->address.id == id) flow->Reset();
  }
}

void Proxy::Stop() {
  stopping_ = true;
  const std::vector<FlowPtr> all(flows_.begin(), flows_.end());
  for (const FlowPtr& flow : all) flow->Reset();
  pool_.DropAll();
}

net::Task<> Proxy::Forward(net::Exchange& exchange, SandboxAddress address) {
  const net::RequestHead& head = exchange.head();
  if (address.port == kAgentPort && IsHiddenAgentPath(head.path)) {
    co_return co_await Refuse(exchange, address, ProxyProblem::kHiddenRoute);
  }
  if (stopping_) co_return exchange.Abort();
  // Before anything is dialled: who may not come in does not wake a paused sandbox either.
  sandbox::PortAccess access = manager_.Ports(address.id).value_or(sandbox::PortAccess{});
  const Admission admission = Admit(access, address.port, head.headers);
  if (admission != Admission::kAdmitted) {
    co_return co_await Refuse(exchange, address,
                              admission == Admission::kTokenMissing ? ProxyProblem::kTokenMissing
                                                                    : ProxyProblem::kTokenWrong);
  }
  const auto flow = std::make_shared<Flow>(io_, exchange, std::move(address), std::move(access));
  const auto place = flows_.insert(flows_.end(), flow);
  co_await Run(flow);
  // The pump uses the exchange: it must have ended before the exchange does.
  flow->answered = true;
  if (flow->pumping && flow->upstream) flow->upstream->Close();
  boost::system::error_code ignored;
  while (flow->pumping) {
    co_await flow->pump_ended.async_wait(asio::redirect_error(asio::use_awaitable, ignored));
  }
  exchange.OnDisconnect({});
  flows_.erase(place);
}

net::Task<> Proxy::Run(FlowPtr flow) {
  flow->exchange.SetBodyLimit(std::numeric_limits<std::uint64_t>::max());
  const auto length = flow->exchange.content_length();
  if (length && *length > 0 && *length <= kSmallBody) {
    Result<std::string> body = co_await flow->exchange.ReadBody(kSmallBody);
    if (!body) co_return co_await RefuseFlow(flow, body.error());
    flow->small_body = std::move(*body);
  }
  Result<UpstreamHead> head = co_await Ask(flow);
  if (!head) co_return co_await RefuseFlow(flow, head.error());
  if (head->status == 101) co_return co_await Upgrade(flow, std::move(*head));
  co_await PassAnswer(flow, std::move(*head));
}

// Sends the request and awaits the answer's head, on a kept connection where there is one. A kept
// one may have been closed by the guest in this very moment: then once more, if that can do no
// harm.
net::AsyncResult<UpstreamHead> Proxy::Ask(FlowPtr flow) {
  for (bool may_reuse = true;; may_reuse = false) {
    CO_TRY_VOID(co_await Connect(flow, may_reuse));
    const Result<> sent = co_await SendRequest(flow);
    // A guest may answer without reading the whole request, and hang up: the answer counts.
    Result<UpstreamHead> head = co_await AwaitHead(flow);
    if (head) co_return head;
    const bool again = flow->reused && flow->upstream->silent() && !flow->gone && !flow->pumping &&
                       !flow->too_slow && flow->exchange.body_finished() &&
                       IsIdempotent(flow->exchange.head().method);
    if (!again) co_return head;
  }
}

net::AsyncResult<> Proxy::Connect(FlowPtr flow, bool may_reuse) {
  const SandboxAddress& address = flow->address;
  // A kept connection serves the agent's calls; others only what may be repeated, since their
  // servers close idle connections when they like.
  const bool wants_kept = address.port == kAgentPort || IsIdempotent(flow->exchange.head().method);
  if (may_reuse && wants_kept) {
    flow->upstream = pool_.Take(address.id, address.port);
    flow->reused = flow->upstream != nullptr;
    if (flow->reused) co_return Result<>{};
  }
  flow->reused = false;
  Result<net::StreamSocket> socket = co_await gate_.Dial(address.id, address.port);
  // Whatever was dialled belongs to a life that has ended meanwhile.
  if (flow->gone) co_return base::Fail(Code::kNotFound, "the sandbox has ended");
  if (!socket) {
    auto error = std::move(socket).error();
    flow->no_space = error.errno_value() == ENOSPC;
    const Code code = ProblemOf(error.code()) == ProxyProblem::kPortClosed
                          ? Code::kFailedPrecondition
                          : error.code();
    co_return base::Fail(code, error.ToString());
  }
  const bool with_tls = SpeaksTls(flow->access, address.port);
  std::unique_ptr<net::TlsEngine> engine;
  if (with_tls) {
    const std::string host = MaskedHost(flow->access, address.port);
    engine = tls_.Connect(socket->native_handle(), HostOnly(host));
    // Never plain where TLS was asked for.
    if (!engine) co_return base::Fail(Code::kInternal, "begin TLS: OpenSSL has no memory for it");
  }
  flow->upstream = std::make_shared<Upstream>(net::Stream(std::move(*socket), std::move(engine)));
  if (!with_tls) co_return Result<>{};
  CloseIfSlow(flow, options_.dial.deadline);
  const Result<> done = co_await flow->upstream->Handshake();
  flow->head_timer.cancel();
  flow->no_tls = !done && done.error().code() == Code::kDataLoss;
  co_return done;
}

net::AsyncResult<> Proxy::SendRequest(FlowPtr flow) {
  net::Exchange& exchange = flow->exchange;
  const net::RequestHead& head = exchange.head();
  const auto length = exchange.content_length();
  RequestFraming framing;
  framing.chunked = !length;
  if (length && (*length > 0 || head.headers.Has("Content-Length"))) framing.length = length;
  const std::string text =
      UpstreamRequest(head, framing, MaskedHost(flow->access, flow->address.port));
  if (exchange.body_finished()) {
    // From here on nobody reads from the client: its going away ends the guest's work at once.
    exchange.OnDisconnect([weak = std::weak_ptr<Flow>(flow)] {
      if (const FlowPtr f = weak.lock(); f && f->upstream) f->upstream->Close();
    });
    co_return co_await flow->upstream->Write(text, flow->small_body);
  }
  CO_TRY_VOID(co_await flow->upstream->Write(text));
  flow->pumping = true;
  asio::co_spawn(io_, PumpRequest(flow), [flow](std::exception_ptr) {
    flow->pumping = false;
    flow->pump_ended.cancel();
  });
  co_return Result<>{};
}

// The request's body, as it comes. Runs beside the answer.
net::Task<> Proxy::PumpRequest(FlowPtr flow) {
  net::Exchange& exchange = flow->exchange;
  const bool chunked = !exchange.content_length();
  std::string buffer(kBuffer, '\0');
  exchange.SetBodyTimeout(kBodyLook);
  while (!flow->answered) {
    const Result<std::size_t> n = co_await exchange.ReadSome(buffer);
    if (flow->answered) co_return;
    if (!n && n.error().code() == Code::kDeadlineExceeded) continue;
    if (!n) {
      flow->request_error = n.error();
      flow->upstream->Close();
      co_return;
    }
    if (*n == 0) break;
    const std::string_view data(buffer.data(), *n);
    const std::string front = chunked ? fmt::format("{:x}\r\n", *n) : std::string();
    const std::string_view back = chunked ? "\r\n" : "";
    const Result<> sent = co_await flow->upstream->Write(front, data, back);
    // Where the guest takes no more, its answer tells why, or its end does.
    if (!sent) co_return;
  }
  if (chunked) (void)co_await flow->upstream->Write("0\r\n\r\n");
  if (flow->answered) co_return;
  exchange.OnDisconnect([weak = std::weak_ptr<Flow>(flow)] {
    if (const FlowPtr f = weak.lock(); f && f->upstream) f->upstream->Close();
  });
}

// A guest that keeps us waiting for longer loses its connection.
void Proxy::CloseIfSlow(const FlowPtr& flow, std::chrono::milliseconds limit) {
  flow->head_timer.expires_after(limit);
  flow->head_timer.async_wait([weak = std::weak_ptr<Flow>(flow)](boost::system::error_code ec) {
    const FlowPtr f = weak.lock();
    if (ec || !f) return;
    f->too_slow = true;
    if (f->upstream) f->upstream->Close();
  });
}

net::AsyncResult<UpstreamHead> Proxy::AwaitHead(FlowPtr flow) {
  CloseIfSlow(flow, options_.head_deadline);
  Result<UpstreamHead> head =
      co_await flow->upstream->ReadHead(flow->exchange.head().method == "HEAD");
  flow->head_timer.cancel();
  co_return head;
}

net::Task<> Proxy::PassAnswer(FlowPtr flow, UpstreamHead head) {
  net::Exchange& exchange = flow->exchange;
  Upstream& upstream = *flow->upstream;
  // Where the body's first bytes are here already, they go out with the head.
  const bool flush = !upstream.has_buffered() && !upstream.body_finished();
  Result<> sent =
      co_await exchange.BeginStream(head.status, EndToEnd(head.headers), head.length, flush);
  const std::size_t room = std::min<std::uint64_t>(head.length.value_or(kBuffer), kBuffer);
  std::string buffer(upstream.body_finished() ? 0 : std::max<std::size_t>(room, 1), '\0');
  while (sent && !upstream.body_finished()) {
    const Result<std::size_t> n = co_await upstream.ReadSome(buffer);
    if (!n) co_return exchange.Abort();  // half an answer must not pass for a whole one
    if (*n == 0) break;
    sent = co_await exchange.Write(std::string_view(buffer.data(), *n));
  }
  if (sent) sent = co_await exchange.Finish();
  if (!sent || flow->gone) {
    upstream.Close();
    co_return exchange.Abort();
  }
  if (!flow->pumping && exchange.body_finished()) {
    exchange.OnDisconnect({});
    pool_.Give(flow->address.id, flow->address.port, std::exchange(flow->upstream, nullptr));
  }
}

net::Task<> Proxy::Upgrade(FlowPtr flow, UpstreamHead head) {
  if (!WantsUpgrade(flow->exchange.head()) || flow->pumping) {
    co_return co_await RefuseFlow(flow,
                                  base::Error(Code::kDataLoss, "an upgrade that nobody wants"));
  }
  flow->exchange.OnDisconnect({});
  net::HeaderList headers = EndToEnd(head.headers);
  headers.Add("Connection", "Upgrade");
  headers.Add("Upgrade", std::string(head.headers.Get("Upgrade")));
  Result<net::UpgradedSocket> client = co_await flow->exchange.Upgrade(std::move(headers));
  if (!client) co_return flow->upstream->Close();
  flow->relay = std::make_shared<net::Relay>(std::move(*client), flow->upstream->Take());
  if (flow->gone) co_return flow->relay->Reset();
  co_await flow->relay->Run();
}

// Answers for a guest that did not.
net::Task<> Proxy::RefuseFlow(FlowPtr flow, base::Error error) {
  net::Exchange& exchange = flow->exchange;
  if (flow->upstream) flow->upstream->Close();
  if (flow->gone || exchange.disconnected()) co_return exchange.Abort();
  ProxyProblem problem = ProxyProblem::kNoAnswer;
  if (flow->request_error || !flow->upstream) {
    const base::Error& cause = flow->request_error ? *flow->request_error : error;
    if (cause.code() == Code::kInvalidArgument || cause.code() == Code::kDeadlineExceeded) {
      const unsigned status = cause.code() == Code::kInvalidArgument ? 400 : 408;
      Answer bad = JsonAnswer(status, {{"code", status}, {"message", cause.message()}});
      (void)co_await exchange.Respond(bad.status, std::move(bad.headers), std::move(bad.body));
      co_return;
    }
    if (flow->request_error) co_return exchange.Abort();
    problem = flow->no_space ? ProxyProblem::kNoSpace : ProblemOf(error.code());
  } else if (flow->too_slow) {
    problem = ProxyProblem::kTooSlow;
  } else if (flow->no_tls) {
    problem = ProxyProblem::kNoTls;
  } else if (error.code() == Code::kDataLoss) {
    problem = ProxyProblem::kNoHttp;
  }
  co_await Refuse(exchange, flow->address, problem);
}

}  // namespace tinderbox::api
