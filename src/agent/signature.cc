// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/signature.h"

#include <fmt/format.h>

#include <charconv>

#include "agent/state.h"
#include "base/base64.h"
#include "base/sha256.h"

namespace tinderbox::agent {
namespace {

std::unexpected<base::Error> Refuse(std::string message) {
  return base::Fail(base::Code::kUnauthenticated, std::move(message));
}

}  // namespace

std::string FileSignature(const FileAccess& access) {
  std::string text =
      fmt::format("{}:{}:{}:{}", access.path, access.operation, access.username, access.token);
  if (!access.expiration.empty()) text.append(":").append(access.expiration);
  const auto digest = base::Sha256(text);
  std::string encoded =
      base::EncodeBase64({reinterpret_cast<const char*>(digest.data()), digest.size()});
  while (encoded.ends_with('=')) encoded.pop_back();
  return "v1_" + encoded;
}

base::Result<> CheckFileAccess(const FileAccess& access, std::int64_t now) {
  if (!access.header.empty()) {
    if (SameSecret(access.header, access.token)) return {};
    return Refuse("access token present in header but does not match");
  }
  if (access.signature.empty()) return Refuse("missing signature query parameter");
  if (!SameSecret(access.signature, FileSignature(access))) return Refuse("invalid signature");
  if (access.expiration.empty()) return {};
  std::int64_t until = 0;
  const char* end = access.expiration.data() + access.expiration.size();
  const auto [parsed, ec] = std::from_chars(access.expiration.data(), end, until);
  if (ec != std::errc() || parsed != end) return Refuse("invalid signature");
  if (until < now) return Refuse("signature is already expired");
  return {};
}

}  // namespace tinderbox::agent
