// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/users.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "sys/file.h"

namespace tinderbox::agent {
namespace {

constexpr std::size_t kMaxFile = 4 << 20;
constexpr std::size_t kMaxGroups = 1024;  // more than the kernel lists quickly is of no use

std::string_view NextLine(std::string_view& text) {
  const auto end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

// Splits at colons; false where there are not exactly N fields.
template <std::size_t N>
bool Split(std::string_view line, std::array<std::string_view, N>& fields) {
  for (std::size_t i = 0; i < N; ++i) {
    const auto colon = line.find(':');
    if ((colon == line.npos) != (i + 1 == N)) return false;
    fields[i] = line.substr(0, colon);
    line.remove_prefix(colon == line.npos ? line.size() : colon + 1);
  }
  return true;
}

template <typename T>
bool Number(std::string_view text, T& value) {
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  return ec == std::errc() && end == text.data() + text.size() && !text.empty();
}

bool HasMember(std::string_view members, std::string_view name) {
  while (!members.empty()) {
    const auto comma = std::min(members.find(','), members.size());
    if (members.substr(0, comma) == name) return true;
    members.remove_prefix(std::min(comma + 1, members.size()));
  }
  return false;
}

// The name on the line whose third field is `id`.
template <std::size_t N>
std::string NameOf(std::string_view text, unsigned id) {
  std::array<std::string_view, N> fields;
  unsigned found = 0;
  while (!text.empty()) {
    if (Split(NextLine(text), fields) && Number(fields[2], found) && found == id) {
      return std::string(fields[0]);
    }
  }
  return std::to_string(id);
}

std::string ReadOrEmpty(const char* path) { return sys::ReadFile(path, kMaxFile).value_or(""); }

}  // namespace

std::optional<User> ParseUser(std::string_view passwd, std::string_view group,
                              std::string_view name) {
  if (name.empty()) return std::nullopt;
  User user;
  std::array<std::string_view, 7> fields;
  bool found = false;
  while (!passwd.empty() && !found) {
    if (!Split(NextLine(passwd), fields) || fields[0] != name) continue;
    found = Number(fields[2], user.uid) && Number(fields[3], user.gid);
  }
  if (!found) return std::nullopt;
  user.name = name;
  user.home = fields[5].empty() ? "/" : std::string(fields[5]);
  user.shell = fields[6].empty() ? "/bin/sh" : std::string(fields[6]);
  user.groups.push_back(user.gid);
  std::array<std::string_view, 4> line;
  while (!group.empty() && user.groups.size() < kMaxGroups) {
    gid_t gid = 0;
    if (Split(NextLine(group), line) && Number(line[2], gid) && gid != user.gid &&
        HasMember(line[3], name)) {
      user.groups.push_back(gid);
    }
  }
  return user;
}

base::Result<User> FindUser(std::string_view name) {
  auto user = ParseUser(ReadOrEmpty("/etc/passwd"), ReadOrEmpty("/etc/group"), name);
  if (user) return *std::move(user);
  if (name == "root") {
    return User{.name = "root", .home = "/root", .shell = "/bin/sh", .groups = {0}};
  }
  return base::Fail(base::Code::kUnauthenticated, fmt::format("invalid username: '{}'", name));
}

NameTable::NameTable() : NameTable(ReadOrEmpty("/etc/passwd"), ReadOrEmpty("/etc/group")) {}
NameTable::NameTable(std::string passwd, std::string group)
    : passwd_(std::move(passwd)), group_(std::move(group)) {}
std::string NameTable::UserName(uid_t uid) const { return NameOf<7>(passwd_, uid); }
std::string NameTable::GroupName(gid_t gid) const { return NameOf<4>(group_, gid); }

}  // namespace tinderbox::agent
