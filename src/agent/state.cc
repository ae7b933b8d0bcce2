// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/state.h"

#include "base/base64.h"
#include "net/http_message.h"

namespace tinderbox::agent {

base::Result<User> RequestUser(const AgentState& state, std::string_view name) {
  if (!name.empty()) return FindUser(name);
  if (!state.default_user.empty()) return FindUser(state.default_user);
  base::Result<User> user = FindUser("user");
  return user ? user : FindUser("root");
}

base::Result<std::string> BasicAuthUser(std::string_view authorization) {
  if (authorization.empty()) return std::string();
  constexpr std::string_view kScheme = "Basic ";
  if (authorization.size() > kScheme.size() &&
      net::EqualsIgnoreCase(authorization.substr(0, kScheme.size()), kScheme)) {
    const auto decoded = base::DecodeBase64(authorization.substr(kScheme.size()));
    if (decoded) return decoded->substr(0, decoded->find(':'));
  }
  return base::Fail(base::Code::kUnauthenticated, "invalid Authorization header");
}

bool SameSecret(std::string_view a, std::string_view b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    difference |= static_cast<unsigned char>(a[i]) ^ static_cast<unsigned char>(b[i]);
  }
  return difference == 0;
}

}  // namespace tinderbox::agent
