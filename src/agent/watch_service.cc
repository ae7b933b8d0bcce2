// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/watch_service.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "agent/paths.h"

namespace tinderbox::agent {
namespace {

namespace json = boost::json;
using net::ConnectCode;
using net::ConnectError;
using Clock = std::chrono::steady_clock;

// Small frames that wait go out together.
constexpr std::size_t kGather = 16 << 10;

std::string EventFrame(std::string_view kind, json::object event) {
  json::object message;
  message[json::string_view(kind.data(), kind.size())] = std::move(event);
  return net::EncodeConnectFrame(0, json::serialize(message));
}

RpcResult<std::string> WatcherId(const Message& request) {
  RPC_TRY(const auto id, request.String("watcherId"));
  return id.value_or("");
}

std::unexpected<ConnectError> NoWatcher(const std::string& id) {
  return RpcFail(ConnectCode::kNotFound, fmt::format("watcher with id {} not found", id));
}

// Closes the watch on every way out.
struct Closing {
  std::shared_ptr<DirectoryWatch> watch;
  ~Closing() { watch->Close(); }
};

}  // namespace

bool WatchService::Has(std::string_view method) {
  return method == "WatchDir" || method == "CreateWatcher" || method == "GetWatcherEvents" ||
         method == "RemoveWatcher";
}

net::Task<> WatchService::Serve(net::Exchange& exchange, std::string_view method) {
  if (method == "WatchDir") co_return co_await ServeStream(exchange);
  UnaryMethod call;
  if (method == "CreateWatcher") {
    call = [this, &exchange](Message m) { return Create(exchange, std::move(m)); };
  } else if (method == "GetWatcherEvents") {
    call = [this](Message m) { return GetEvents(std::move(m)); };
  } else {
    call = [this](Message m) { return Remove(std::move(m)); };
  }
  co_await ServeUnary(exchange, std::move(call));
}

RpcResult<std::shared_ptr<DirectoryWatch>> WatchService::Open(net::Exchange& exchange,
                                                              const Message& request) {
  const auto name = BasicAuthUser(exchange.head().headers.Get("Authorization"));
  if (!name) return RpcFail(ConnectCode::kUnauthenticated, name.error().message());
  const base::Result<User> user = RequestUser(state_, *name);
  if (!user) return RpcFail(ConnectCode::kUnauthenticated, user.error().message());
  RPC_TRY(const auto given, request.String("path"));
  base::Result<std::string> path = ResolvePath(given.value_or(""), *user, state_.default_workdir);
  if (!path) return RpcFail(ConnectCode::kInvalidArgument, path.error().message());
  RPC_TRY(const auto recursive, request.Bool("recursive"));
  RPC_TRY(const auto include_entry, request.Bool("includeEntry"));
  RPC_TRY(const auto network, request.Bool("allowNetworkMounts"));
  WatchOptions options;
  options.path = *std::move(path);
  options.recursive = recursive.value_or(false);
  options.include_entry = include_entry.value_or(false);
  options.allow_network_mounts = network.value_or(false);
  return DirectoryWatch::Open(exchange.executor(), std::move(options));
}

// --- As a stream

net::Task<> WatchService::ServeStream(net::Exchange& exchange) {
  const RpcResult<Wakeup::TimePoint> deadline = StreamDeadline(exchange.head().headers);
  if (!deadline) co_return co_await RefuseStream(exchange, deadline.error());
  const RpcResult<Message> request = co_await ReadStreamRequest(exchange);
  if (!request) co_return co_await RefuseStream(exchange, request.error());
  RpcResult<std::shared_ptr<DirectoryWatch>> watch = Open(exchange, *request);
  if (!watch) co_return co_await RefuseStream(exchange, watch.error());
  co_await StreamEvents(exchange, *std::move(watch), *deadline);
}

net::Task<> WatchService::StreamEvents(net::Exchange& exchange,
                                       std::shared_ptr<DirectoryWatch> watch,
                                       Wakeup::TimePoint deadline) {
  const Closing closing{watch};
  exchange.OnDisconnect([watch] { watch->Close(); });
  if (!co_await exchange.BeginStream(200, AnswerHeaders(std::string(net::kConnectStreamType)),
                                     std::nullopt, false)) {
    co_return;
  }
  const auto interval = KeepaliveInterval(exchange.head().headers);
  std::string out = EventFrame("start", {});
  std::optional<ConnectError> end;
  while (!end) {
    if (!co_await exchange.Write(out)) co_return;
    out.clear();
    const auto next_ping = Clock::now() + interval;
    while (watch->empty() && !watch->error() && !watch->closed()) {
      const auto now = Clock::now();
      if (now >= deadline || now >= next_ping) break;
      co_await watch->changed().Wait(std::min(deadline, next_ping));
    }
    if (watch->closed()) co_return;
    while (!watch->empty() && out.size() < kGather) out += EventFrame("filesystem", watch->Take());
    if (!out.empty()) continue;
    if (watch->error()) {
      end = watch->error();
    } else if (Clock::now() >= deadline) {
      end = ConnectError{ConnectCode::kDeadlineExceeded, "the call's time is over"};
    } else {
      out = EventFrame("keepalive", {});
    }
  }
  if (co_await exchange.Write(net::EncodeConnectEnd(end))) (void)co_await exchange.Finish();
}

// --- By asking

RpcResult<> WatchService::MakeRoom() {
  if (watchers_.size() < kMaxWatchers) return {};
  const auto oldest =
      std::ranges::min_element(watchers_, {}, [](const auto& entry) { return entry.second.asked; });
  if (Clock::now() - oldest->second.asked < kIdle) {
    return RpcFail(ConnectCode::kResourceExhausted,
                   fmt::format("there are {} watchers already", watchers_.size()));
  }
  oldest->second.watch->Close();
  watchers_.erase(oldest);
  return {};
}

WatchService::Answer WatchService::Create(net::Exchange& exchange, Message request) {
  const RpcResult<> room = MakeRoom();
  if (!room) co_return std::unexpected(room.error());
  RPC_CO_TRY(std::shared_ptr<DirectoryWatch> watch, Open(exchange, request));
  const std::string id = fmt::format("w{}", next_id_++);
  Watcher watcher;
  watcher.watch = std::move(watch);
  watcher.asked = Clock::now();
  watchers_.emplace(id, std::move(watcher));
  json::object answer;
  answer["watcherId"] = id;
  co_return answer;
}

WatchService::Answer WatchService::GetEvents(Message request) {
  RPC_CO_TRY(const std::string id, WatcherId(request));
  const auto found = watchers_.find(id);
  if (found == watchers_.end()) co_return NoWatcher(id);
  found->second.asked = Clock::now();
  DirectoryWatch& watch = *found->second.watch;
  // Events that have already happened may still be in the kernel's queue.
  watch.ReadPending();
  json::array events;
  while (!watch.empty()) events.push_back(watch.Take());
  // What was seen before the error is told first.
  if (events.empty() && watch.error()) co_return std::unexpected(*watch.error());
  json::object answer;
  if (!events.empty()) answer["events"] = std::move(events);
  co_return answer;
}

WatchService::Answer WatchService::Remove(Message request) {
  RPC_CO_TRY(const std::string id, WatcherId(request));
  const auto found = watchers_.find(id);
  if (found == watchers_.end()) co_return NoWatcher(id);
  found->second.watch->Close();
  watchers_.erase(found);
  co_return json::object();
}

}  // namespace tinderbox::agent
