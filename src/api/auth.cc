// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/auth.h"

#include "api/worker_pool.h"

namespace tinderbox::api {
namespace {

constexpr std::chrono::seconds kTrust{10};
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
  const auto trusted = good_until_.find(key);
  if (trusted != good_until_.end() && Clock::now() < trusted->second) co_return base::Result<>{};
  CO_TRY(const bool good, co_await pool_.Run([this, key]() -> base::Result<bool> {
    if (key.size() > kMaxKey) return false;
    return store_.IsValidApiKey(key);
  }));
  if (!good) {
    co_return std::unexpected(
        base::Error(base::Code::kUnauthenticated, "the API key is not known here")
            .WithRemedy(kRemedy));
  }
  if (good_until_.size() >= kMaxTrusted) good_until_.clear();
  good_until_[key] = Clock::now() + kTrust;
  co_return base::Result<>{};
}

}  // namespace tinderbox::api
