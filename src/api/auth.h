// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <unordered_map>

#include "base/error.h"
#include "net/http_message.h"
#include "net/http_server.h"
#include "store/store.h"

namespace tinderbox::api {

class WorkerPool;

// Who may call the control API: uid 0 on the unix socket, and whoever brings a key, by `X-API-KEY`
// or `Authorization: Bearer`. Belongs to the loop's thread.
class Auth {
 public:
  Auth(store::Store& store, WorkerPool& pool) : store_(store), pool_(pool) {}

  // kUnauthenticated otherwise. Keys that were found good are taken on trust for a few seconds, so
  // that the usual request needs no query, but never after they were removed or have expired.
  // Records when a key was last used, to within a minute.
  net::AsyncResult<> Check(net::HeaderList headers, net::HttpPeer peer);

 private:
  using Clock = std::chrono::steady_clock;
  base::Result<Clock::time_point> GoodUntil(const std::string& key);

  store::Store& store_;
  WorkerPool& pool_;
  std::uint64_t generation_ = 0;  // of the keys that are taken on trust
  std::unordered_map<std::string, Clock::time_point> good_until_;
};

// The key that the request brings; "" where there is none.
std::string KeyOf(const net::HeaderList& headers);

bool IsLocalRoot(const net::HttpPeer& peer);

}  // namespace tinderbox::api
