// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/port_access.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace tinderbox::api {
namespace {

using base::Code;
using base::Fail;

constexpr std::string_view kPlaceholder = "${PORT}";
constexpr std::size_t kMaxHost = 253;  // a name of the DNS

std::string Substitute(std::string_view mask, std::uint16_t port) {
  std::string out;
  while (!mask.empty()) {
    const auto at = std::min(mask.find(kPlaceholder), mask.size());
    out += mask.substr(0, at);
    mask.remove_prefix(at);
    if (mask.empty()) break;
    out += std::to_string(port);
    mask.remove_prefix(kPlaceholder.size());
  }
  return out;
}

bool EqualInConstantTime(std::string_view a, std::string_view b) {
  unsigned char different = a.size() == b.size() ? 0 : 1;
  // As long as what the client sent: that it knows already.
  for (std::size_t i = 0; i < a.size(); ++i) {
    const char other = b.empty() ? '\0' : b[i % b.size()];
    different |= static_cast<unsigned char>(a[i] ^ other);
  }
  return different == 0;
}

// Labels with dots between them.
bool IsName(std::string_view host) {
  if (host.empty() || host.starts_with('.') || host.ends_with('.')) return false;
  if (host.find("..") != host.npos) return false;
  return std::ranges::all_of(host, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  });
}

bool IsPort(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && !text.starts_with('0');
}

}  // namespace

Admission Admit(const sandbox::PortAccess& access, std::uint16_t port,
                const net::HeaderList& headers) {
  if (access.traffic_token.empty() || port == kAgentPort) return Admission::kAdmitted;
  const auto token = headers.Find(kTrafficTokenHeader);
  if (!token) return Admission::kTokenMissing;
  return EqualInConstantTime(*token, access.traffic_token) ? Admission::kAdmitted
                                                           : Admission::kTokenWrong;
}

std::string MaskedHost(const sandbox::PortAccess& access, std::uint16_t port) {
  return port == kAgentPort ? std::string() : Substitute(access.mask_host, port);
}

bool SpeaksTls(const sandbox::PortAccess& access, std::uint16_t port) {
  return port != kAgentPort &&
         std::ranges::find(access.https_ports, port) != access.https_ports.end();
}

base::Result<> CheckMaskHost(std::string_view mask) {
  // The longest port: what is good with it is good with every other.
  const std::string host = Substitute(mask, 65535);
  const std::string_view name = HostOnly(host);
  const std::string_view rest = std::string_view(host).substr(name.size());
  const bool good_port = rest.empty() || IsPort(rest.substr(1));
  if (mask.size() <= kMaxHost && IsName(name) && good_port) return {};
  return Fail(Code::kInvalidArgument,
              fmt::format("must be a host's name or name:port of at most {} bytes, in which "
                          "${{PORT}} stands for the port",
                          kMaxHost));
}

std::string_view HostOnly(std::string_view host) {
  return host.substr(0, std::min(host.find(':'), host.size()));
}

}  // namespace tinderbox::api
