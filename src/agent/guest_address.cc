// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/guest_address.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "sys/file.h"

namespace tinderbox::agent {
namespace {

constexpr char kHosts[] = "/etc/hosts";
constexpr std::string_view kMark = " # this sandbox";

}  // namespace

base::Result<> WriteHosts(const std::string& hostname) {
  const std::string old = sys::ReadFile(kHosts, 1 << 20).value_or("");
  std::string text;
  for (std::string_view rest = old; !rest.empty();) {
    const auto end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    if (!line.ends_with(kMark)) text.append(line).append("\n");
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (text.find("localhost") == text.npos) {
    text = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n" + text;
  }
  text += fmt::format("127.0.1.1 {}{}\n", hostname, kMark);
  const sys::UniqueFd file(::open(kHosts, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!file) return base::FailErrno(errno, "write '/etc/hosts'");
  return sys::WriteAll(file, text);
}

}  // namespace tinderbox::agent
