// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/sandbox_address.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "api/control.h"

namespace tinderbox::api {
namespace {

std::optional<std::uint16_t> ParsePort(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return lower;
}

MalformedAddress Malformed() { return {"Invalid host: expected <port>-<sandboxID>.<domain>"}; }

// The label "<port>-<id>" or "<port>-<id>-<ignored>".
std::optional<SandboxAddress> ParseLabel(std::string_view label) {
  const auto dash = label.find('-');
  if (dash == label.npos) return std::nullopt;
  const auto port = ParsePort(label.substr(0, dash));
  const std::string_view rest = label.substr(dash + 1);
  const auto id = SandboxIdOf(rest.substr(0, rest.find('-')));
  if (!port || !id) return std::nullopt;
  return SandboxAddress{*id, *port};
}

}  // namespace

std::string HostName(std::string_view host) {
  const auto colon = host.rfind(':');
  const bool in_brackets = host.ends_with(']');
  return Lower(colon == host.npos || in_brackets ? host : host.substr(0, colon));
}

base::Result<std::string> SandboxIdOf(std::string_view parameter) {
  const auto well_formed = [](std::string_view part) {
    return !part.empty() && part.size() <= 64 && std::ranges::all_of(part, [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    });
  };
  const std::string_view id = parameter.substr(0, parameter.find('-'));
  const bool good = id.size() == parameter.size() || well_formed(parameter.substr(id.size() + 1));
  if (!good || !well_formed(id)) {
    return base::Fail(base::Code::kInvalidArgument,
                      fmt::format("'{}' is no sandbox's id", parameter.substr(0, 100)));
  }
  return std::string(id);
}

Address AddressOf(const net::RequestHead& head, std::string_view domain) {
  const std::string host = HostName(head.headers.Get("Host"));
  const std::string suffix = "." + HostName(domain);
  if (suffix.size() > 1 && host.size() > suffix.size() && host.ends_with(suffix)) {
    const std::string_view label(host.data(), host.size() - suffix.size());
    if (label != "api" && label != "sandbox") {
      const auto address = ParseLabel(label);
      return address ? Address(*address) : Address(Malformed());
    }
  }
  const auto id = head.headers.Find("E2b-Sandbox-Id");
  if (!id) return ControlAddress{};
  const auto known = SandboxIdOf(*id);
  const std::string_view port_text = head.headers.Get("E2b-Sandbox-Port");
  const auto port = port_text.empty() ? std::optional(kAgentPort) : ParsePort(port_text);
  if (!known || !port) {
    return MalformedAddress{"Invalid header: E2b-Sandbox-Id or E2b-Sandbox-Port is malformed"};
  }
  return SandboxAddress{*known, *port};
}

bool IsHiddenAgentPath(std::string_view path) {
  static constexpr std::string_view kHidden[] = {"init",     "freeze", "unfreeze",
                                                 "fsfreeze", "fsthaw", "collapse",
                                                 "upgrade",  "tunnel", "volume"};
  // Decoded twice at most: a server that decodes once too often must not open a way around.
  std::string plain(path);
  for (int i = 0; i < 2; ++i) plain = net::PercentDecode(plain).value_or(plain);
  plain = Lower(plain);
  std::string first;
  std::string_view rest(plain);
  rest = rest.substr(0, rest.find_first_of("?#;"));
  std::size_t segments = 0;
  while (!rest.empty()) {
    const auto slash = std::min(rest.find('/'), rest.size());
    const std::string_view segment = rest.substr(0, slash);
    rest.remove_prefix(std::min(slash + 1, rest.size()));
    if (segment.empty() || segment == ".") continue;
    if (segment == "..") {
      segments -= segments > 0 ? 1 : 0;
      continue;
    }
    if (segments++ == 0) first = segment;
  }
  return segments == 1 && std::ranges::find(kHidden, first) != std::end(kHidden);
}

}  // namespace tinderbox::api
