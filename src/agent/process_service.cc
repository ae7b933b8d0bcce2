// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/process_service.h"

#include <fmt/format.h>
#include <signal.h>

#include "agent/freeze.h"
#include "agent/process_request.h"
#include "agent/user_processes.h"

namespace tinderbox::agent {
namespace {

namespace json = boost::json;
using net::ConnectCode;
using net::ConnectError;

// Small frames that wait go out together, in one system call.
constexpr std::size_t kGather = 16 << 10;

net::ConnectError FromBase(const base::Error& error) {
  return {net::ConnectCodeFromBase(error.code()), error.ToString()};
}

RpcResult<int> ParseSignal(const Message& message) {
  RPC_TRY(const std::string name, message.Enum("signal"));
  if (name == "SIGNAL_SIGKILL" || name == "9") return SIGKILL;
  if (name == "SIGNAL_SIGTERM" || name == "15") return SIGTERM;
  return RpcFail(ConnectCode::kUnimplemented, fmt::format("signal '{}' is not supported", name));
}

}  // namespace

// Takes the subscriber off the process on every way out.
struct ProcessService::Attachment {
  std::shared_ptr<Process> process;
  std::shared_ptr<Subscriber> subscriber;
  ~Attachment() { process->Unsubscribe(subscriber); }
};

net::Task<> ProcessService::Serve(net::Exchange& exchange, std::string_view method) {
  if (method == "Start") co_return co_await ServeStart(exchange);
  if (method == "Connect") co_return co_await ServeConnect(exchange);
  if (method == "StreamInput") co_return co_await ServeStreamInput(exchange);
  UnaryMethod call;
  if (method == "List") call = [this](Message m) { return List(std::move(m)); };
  if (method == "Update") call = [this](Message m) { return Update(std::move(m)); };
  if (method == "SendSignal") call = [this](Message m) { return SendSignal(std::move(m)); };
  if (method == "CloseStdin") call = [this](Message m) { return CloseStdin(std::move(m)); };
  // A process that does not read its input keeps the call waiting; the client's end ends it.
  const auto cancelled = std::make_shared<bool>(false);
  if (method == "SendInput") {
    call = [this, &exchange, cancelled](Message m) {
      exchange.OnDisconnect([this, cancelled] {
        *cancelled = true;
        for (const auto& process : table_.List()) process->CancelInput();
      });
      return SendInput(std::move(m), cancelled);
    };
  }
  if (!call) {
    co_return co_await RespondError(exchange, 404, "no such method");
  }
  co_await ServeUnary(exchange, std::move(call));
}

// --- Server streams

net::Task<> ProcessService::ServeStart(net::Exchange& exchange) {
  const RpcResult<Wakeup::TimePoint> deadline = StreamDeadline(exchange.head().headers);
  if (!deadline) co_return co_await RefuseStream(exchange, deadline.error());
  const auto subscriber = std::make_shared<Subscriber>(exchange.executor());
  RpcResult<std::shared_ptr<Process>> process =
      co_await StartProcess(exchange, subscriber, *deadline);
  if (!process) co_return co_await RefuseStream(exchange, process.error());
  co_await StreamEvents(exchange, *std::move(process), subscriber, *deadline);
}

AsyncRpcResult<std::shared_ptr<Process>> ProcessService::StartProcess(
    net::Exchange& exchange, std::shared_ptr<Subscriber> subscriber, Wakeup::TimePoint deadline) {
  RPC_CO_TRY(const Message message, co_await ReadStreamRequest(exchange));
  RPC_CO_TRY(StartRequest request, ParseStart(message));
  const auto name = BasicAuthUser(exchange.head().headers.Get("Authorization"));
  if (!name) co_return RpcFail(ConnectCode::kUnauthenticated, name.error().message());
  const base::Result<User> user = RequestUser(state_, *name);
  if (!user) co_return RpcFail(ConnectCode::kUnauthenticated, user.error().message());
  RPC_CO_TRY(SpawnSpec spec, PlanSpawn(request, *user, state_));
  // In a frozen cgroup it would not reach its exec, for which our one thread waits.
  if (state_.process_freeze != nullptr) co_await state_.process_freeze->AwaitThaw();
  if (state_.user_processes != nullptr) spec.cgroup = state_.user_processes->cgroup();
  RPC_CO_TRY(
      std::shared_ptr<Process> process,
      table_.Start(spec, std::move(request.config), std::move(request.tag), std::move(subscriber)));
  if (deadline != Wakeup::TimePoint::max()) process->KillAt(deadline);
  co_return process;
}

net::Task<> ProcessService::ServeConnect(net::Exchange& exchange) {
  const RpcResult<Wakeup::TimePoint> deadline = StreamDeadline(exchange.head().headers);
  if (!deadline) co_return co_await RefuseStream(exchange, deadline.error());
  RpcResult<std::shared_ptr<Process>> process = co_await StreamTarget(exchange);
  if (!process) co_return co_await RefuseStream(exchange, process.error());
  const auto subscriber = std::make_shared<Subscriber>(exchange.executor());
  (*process)->Subscribe(subscriber);
  co_await StreamEvents(exchange, *std::move(process), subscriber, *deadline);
}

AsyncRpcResult<std::shared_ptr<Process>> ProcessService::StreamTarget(net::Exchange& exchange) {
  RPC_CO_TRY(const Message message, co_await ReadStreamRequest(exchange));
  RPC_CO_TRY(const ProcessSelector selector, ParseSelector(message));
  co_return table_.FindRecent(selector);
}

// Sends what the subscriber is given until the end event, the client's leaving, or the deadline.
net::Task<> ProcessService::StreamEvents(net::Exchange& exchange, std::shared_ptr<Process> process,
                                         std::shared_ptr<Subscriber> subscriber,
                                         Wakeup::TimePoint deadline) {
  const Attachment attachment{process, subscriber};
  exchange.OnDisconnect([process, subscriber] {
    subscriber->gone = true;
    process->Unsubscribe(subscriber);
    subscriber->wakeup.Notify();
  });
  if (!co_await exchange.BeginStream(200, AnswerHeaders(std::string(net::kConnectStreamType)),
                                     std::nullopt, false)) {
    co_return;
  }
  const auto interval = KeepaliveInterval(exchange.head().headers);
  std::string out = StartFrame(process->pid());
  bool ended = false;
  while (true) {
    if (!out.empty()) {
      if (!co_await exchange.Write(out)) co_return;
      out.clear();
      if (ended) break;
    }
    const auto next_ping = std::chrono::steady_clock::now() + interval;
    while (subscriber->queue.empty() && !subscriber->gone) {
      const auto now = std::chrono::steady_clock::now();
      if (now >= deadline || now >= next_ping) break;
      co_await subscriber->wakeup.Wait(std::min(deadline, next_ping));
    }
    if (subscriber->gone) co_return;
    if (std::chrono::steady_clock::now() >= deadline) {
      out = net::EncodeConnectEnd(
          ConnectError{ConnectCode::kDeadlineExceeded, "the call's time is over"});
      ended = true;
      continue;
    }
    if (subscriber->queue.empty()) {
      out = KeepaliveFrame();
      continue;
    }
    const Subscriber::Frame frame = process->TakeFrame(*subscriber);
    out = *frame;
    while (!subscriber->queue.empty() && out.size() < kGather) {
      out += *process->TakeFrame(*subscriber);
    }
    if (subscriber->ended && subscriber->queue.empty()) {
      out += net::EncodeConnectEnd();
      ended = true;
    }
  }
  (void)co_await exchange.Finish();
}

// --- The client stream

net::Task<> ProcessService::ServeStreamInput(net::Exchange& exchange) {
  const auto cancelled = std::make_shared<bool>(false);
  exchange.OnDisconnect([this, cancelled] {
    *cancelled = true;
    for (const auto& process : table_.List()) process->CancelInput();
  });
  const RpcResult<> applied = co_await ApplyInput(exchange, cancelled);
  if (!applied) co_return co_await RefuseStream(exchange, applied.error());
  (void)co_await exchange.Respond(200, AnswerHeaders(std::string(net::kConnectStreamType)),
                                  net::EncodeConnectFrame(0, "{}") + net::EncodeConnectEnd());
}

// Applies each frame as it arrives; the body may stay open for hours.
AsyncRpcResult<> ProcessService::ApplyInput(net::Exchange& exchange,
                                            std::shared_ptr<bool> cancelled) {
  exchange.SetBodyLimit(UINT64_MAX);
  exchange.SetBodyTimeout(std::chrono::seconds(0));
  net::ConnectDecoder decoder(kMaxRpcMessage);
  std::string chunk(16 << 10, '\0');
  std::shared_ptr<Process> process;
  while (true) {
    const base::Result<std::size_t> n = co_await exchange.ReadSome(chunk);
    if (!n) co_return std::unexpected(FromBase(n.error()));
    if (*n == 0) break;
    const base::Result<> fed = decoder.Feed(std::string_view(chunk).substr(0, *n));
    if (!fed) co_return std::unexpected(FromBase(fed.error()));
    while (const std::optional<net::ConnectFrame> frame = decoder.Next()) {
      if (frame->end_stream()) continue;
      RPC_CO_TRY(const Message message, Message::Parse(frame->payload));
      RPC_CO_TRY(const auto start, message.Sub("start"));
      if (start) {
        RPC_CO_TRY(const ProcessSelector selector, ParseSelector(*start));
        RPC_CO_TRY(process, table_.Find(selector));
      }
      RPC_CO_TRY(const auto data, message.Sub("data"));
      if (!data) continue;
      if (!process) co_return RpcFail(ConnectCode::kInvalidArgument, "data came before start");
      RPC_CO_TRY(Input input, ParseInput(*data));
      const RpcResult<> written =
          co_await process->WriteInput(input.to_terminal, std::move(input.bytes), cancelled);
      if (!written) co_return std::unexpected(written.error());
    }
  }
  if (!decoder.at_boundary()) {
    co_return RpcFail(ConnectCode::kInvalidArgument, "the stream ends inside a message");
  }
  co_return RpcResult<>{};
}

// --- Unary calls

AsyncRpcResult<json::object> ProcessService::List(Message) {
  json::array processes;
  for (const auto& process : table_.List()) processes.push_back(ProcessInfo(*process));
  json::object answer;
  if (!processes.empty()) answer["processes"] = std::move(processes);
  co_return answer;
}

AsyncRpcResult<json::object> ProcessService::Update(Message request) {
  RPC_CO_TRY(const ProcessSelector selector, ParseSelector(request));
  RPC_CO_TRY(const std::shared_ptr<Process> process, table_.Find(selector));
  RPC_CO_TRY(const auto size, ParseTerminal(request));
  if (size) {
    const RpcResult<> resized = process->Resize(*size);
    if (!resized) co_return std::unexpected(resized.error());
  }
  co_return json::object();
}

AsyncRpcResult<json::object> ProcessService::SendInput(Message request,
                                                       std::shared_ptr<bool> cancelled) {
  RPC_CO_TRY(const ProcessSelector selector, ParseSelector(request));
  RPC_CO_TRY(const std::shared_ptr<Process> process, table_.Find(selector));
  RPC_CO_TRY(Input input, ParseInput(request));
  const RpcResult<> written =
      co_await process->WriteInput(input.to_terminal, std::move(input.bytes), cancelled);
  if (!written) co_return std::unexpected(written.error());
  co_return json::object();
}

AsyncRpcResult<json::object> ProcessService::SendSignal(Message request) {
  RPC_CO_TRY(const ProcessSelector selector, ParseSelector(request));
  RPC_CO_TRY(const std::shared_ptr<Process> process, table_.Find(selector));
  RPC_CO_TRY(const int signal, ParseSignal(request));
  const RpcResult<> sent = process->SendSignal(signal);
  if (!sent) co_return std::unexpected(sent.error());
  co_return json::object();
}

AsyncRpcResult<json::object> ProcessService::CloseStdin(Message request) {
  RPC_CO_TRY(const ProcessSelector selector, ParseSelector(request));
  RPC_CO_TRY(const std::shared_ptr<Process> process, table_.Find(selector));
  const RpcResult<> closed = co_await process->CloseStdin();
  if (!closed) co_return std::unexpected(closed.error());
  co_return json::object();
}

}  // namespace tinderbox::agent
