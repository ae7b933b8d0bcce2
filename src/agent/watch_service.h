// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "agent/directory_watch.h"
#include "agent/rpc.h"
#include "agent/state.h"
#include "net/http_server.h"

namespace tinderbox::agent {

// The watching methods of filesystem.Filesystem: WatchDir as a stream; CreateWatcher,
// GetWatcherEvents and RemoveWatcher for clients that ask again and again.
class WatchService {
 public:
  // Watchers that clients forgot to remove must not use up what the guest's programs need too: at
  // kMaxWatchers, the one that was not asked for longest goes, if that is kIdle ago.
  static constexpr std::size_t kMaxWatchers = 256;
  static constexpr std::chrono::minutes kIdle{10};

  explicit WatchService(AgentState& state) : state_(state) {}

  static bool Has(std::string_view method);
  net::Task<> Serve(net::Exchange& exchange, std::string_view method);

 private:
  struct Watcher {
    std::shared_ptr<DirectoryWatch> watch;
    std::chrono::steady_clock::time_point asked;
  };
  using Answer = AsyncRpcResult<boost::json::object>;

  net::Task<> ServeStream(net::Exchange& exchange);
  net::Task<> StreamEvents(net::Exchange& exchange, std::shared_ptr<DirectoryWatch> watch,
                           Wakeup::TimePoint deadline);
  RpcResult<std::shared_ptr<DirectoryWatch>> Open(net::Exchange& exchange, const Message& request);
  Answer Create(net::Exchange& exchange, Message request);
  Answer GetEvents(Message request);
  Answer Remove(Message request);
  RpcResult<> MakeRoom();

  AgentState& state_;
  std::map<std::string, Watcher> watchers_;
  std::uint64_t next_id_ = 1;
};

}  // namespace tinderbox::agent
