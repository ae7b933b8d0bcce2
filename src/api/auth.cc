// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/auth.h"

#include <algorithm>
#include <utility>

#include "api/worker_pool.h"

namespace tinderbox::api {
namespace {

constexpr std::chrono::seconds kTrust{10};
constexpr std::chrono::milliseconds kUseAccuracy{60'000};
constexpr std::size_t kMaxTrusted = 1024;
constexpr std::size_t kMaxKey = 256;
constexpr char kRemedy[] =
    "Set the header X-API-KEY to a key of this server: `sudo tinderbox env` prints one.";

}  // namespace

std::string KeyOf(const net::HeaderList& headers) {
  if (const auto key = headers.Find("X-API-KEY"); key && !key->empty()) return std::string(*key);
  const std::string_view authorization = headers.Get("Authorization");
  constexpr std::string_view kBearer = "Bearer ";
  if (authorization.size() > kBearer.size() &&
      net::EqualsIgnoreCase(authorization.substr(0, kBearer.size()), kBearer)) {
    return std::string(authorization.substr(kBearer.size()));
  }
  return {};
}

bool IsLocalRoot(const net::HttpPeer& peer) { return peer.is_unix && peer.uid == 0; }

net::AsyncResult<> Auth::Check(net::HeaderList headers, net::HttpPeer peer) {
  if (IsLocalRoot(peer)) co_return base::Result<>{};
  const std::string key = KeyOf(headers);
  if (key.empty()) {
    co_return std::unexpected(
        base::Error(base::Code::kUnauthenticated, "no API key in the request").WithRemedy(kRemedy));
  }
  // Before the look into the store: what changes after it, the next call sees.
  const std::uint64_t generation = store_.Keys().generation();
  if (generation != std::exchange(generation_, generation)) good_until_.clear();
  const auto trusted = good_until_.find(key);
  if (trusted != good_until_.end() && Clock::now() < trusted->second) co_return base::Result<>{};
  CO_TRY(const auto until, co_await pool_.Run([this, key] { return GoodUntil(key); }));
  // Another request may have seen a newer generation while this one waited.
  if (generation != generation_) co_return base::Result<>{};
  if (good_until_.size() >= kMaxTrusted) good_until_.clear();
  good_until_[key] = until;
  co_return base::Result<>{};
}

// On a worker's thread.
base::Result<Auth::Clock::time_point> Auth::GoodUntil(const std::string& key) {
  using std::chrono::milliseconds;
  const auto refuse = [](const char* why) {
    return std::unexpected(base::Error(base::Code::kUnauthenticated, why).WithRemedy(kRemedy));
  };
  if (key.size() > kMaxKey) return refuse("the API key is not known here");
  const auto record = TRY(store_.Keys().Find(key));
  if (!record) return refuse("the API key is not known here");
  const auto now =
      std::chrono::duration_cast<milliseconds>(std::chrono::system_clock::now().time_since_epoch())
          .count();
  if (!record->ValidAt(now)) return refuse("the API key has expired");
  // If the store cannot record it, the key is accepted all the same.
  if (now - record->last_used_at >= kUseAccuracy.count()) {
    static_cast<void>(store_.Keys().Touch(record->id, now));
  }
  milliseconds trust = kTrust;
  if (record->expires_at != 0) trust = std::min(trust, milliseconds(record->expires_at - now));
  return Clock::now() + trust;
}

}  // namespace tinderbox::api
