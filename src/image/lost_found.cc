// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/lost_found.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <tuple>
#include <utility>

#include "base/log.h"
#include "image/internal/directory.h"
#include "image/internal/saved_dir.h"
#include "image/internal/saved_store.h"
#include "image/internal/workspace.h"
#include "sys/directory.h"
#include "sys/file.h"

namespace tinderbox::image {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::size_t kMaxDescription = 1 << 20;
constexpr int kMostOfOneName = 10'000;

std::string DescriptionOf(const LostItem& item, const std::string& lost_at) {
  return boost::json::serialize(boost::json::object{{"kind", item.kind},
                                                    {"id", item.id},
                                                    {"label", item.label},
                                                    {"why", item.why},
                                                    {"lostAt", lost_at}});
}

// An entry whose description cannot be read is still an entry: its name says the most of it.
LostEntry Describe(const std::string& date, const std::string& dir, const std::string& name) {
  LostEntry entry{.item = {}, .name = name, .lost_at = date, .path = dir + "/content"};
  entry.item.kind = name.substr(0, name.find('-'));
  entry.item.why = "its description cannot be read";
  const auto text = sys::ReadFile(dir + "/lost.json", kMaxDescription);
  if (!text) return entry;
  boost::system::error_code error;
  const auto value = boost::json::parse(*text, error);
  if (error || !value.is_object()) return entry;
  const auto field = [&value](std::string_view key, std::string& to) {
    const auto* member = value.as_object().if_contains(key);
    if (member != nullptr && member->is_string()) to = std::string(member->as_string());
  };
  field("kind", entry.item.kind);
  field("id", entry.item.id);
  field("label", entry.item.label);
  field("why", entry.item.why);
  field("lostAt", entry.lost_at);
  return entry;
}

}  // namespace

Result<std::optional<LostEntry>> LostFound::Keep(const LostItem& item,
                                                 const std::string& path) const {
  struct stat st{};
  if (::lstat(path.c_str(), &st) != 0) {
    if (errno == ENOENT) return std::optional<LostEntry>();
    return FailErrno(errno, fmt::format("stat '{}'", path));
  }
  const std::string now = Rfc3339Now();
  const std::string day = fmt::format("{}/{}", dir_, now.substr(0, 10));
  TRY(sys::MakeDirs(dir_, 0700));
  TRY(sys::MakeDirs(day, 0700));
  LostEntry entry{.item = item, .name = {}, .lost_at = now, .path = {}};
  std::string dir;
  for (int i = 1; dir.empty(); ++i) {
    entry.name = fmt::format("{}-{}", item.kind, item.id);
    if (i > 1) entry.name += fmt::format("-{}", i);
    const bool taken = Find(entry.name).has_value();
    const std::string wanted = fmt::format("{}/{}", day, entry.name);
    if (!taken && ::mkdir(wanted.c_str(), 0700) == 0) {
      dir = wanted;
    } else if (!taken && errno != EEXIST) {
      return FailErrno(errno, fmt::format("create '{}'", wanted));
    } else if (i == kMostOfOneName) {
      return Fail(Code::kResourceExhausted, fmt::format("keep '{}' in '{}'", path, dir_));
    }
  }
  entry.path = dir + "/content";
  TRY(sys::WriteFileAtomic(dir + "/lost.json", DescriptionOf(item, now), 0600));
  if (::rename(path.c_str(), entry.path.c_str()) != 0) {
    const int failed = errno;
    static_cast<void>(sys::RemoveTree(dir));
    return FailErrno(failed, fmt::format("move '{}' to '{}'", path, entry.path));
  }
  for (const std::string& parent : {dir, day, dir_}) TRY(SyncPath(parent));
  base::LogWarning(
      "moved to lost+found",
      {{"kind", item.kind}, {"id", item.id}, {"entry", entry.name}, {"why", item.why}});
  return std::optional(std::move(entry));
}

Result<std::vector<LostEntry>> LostFound::List() const {
  std::vector<LostEntry> entries;
  for (const std::string& date : TRY(sys::NamesIn(dir_))) {
    const std::string day = fmt::format("{}/{}", dir_, date);
    for (const std::string& name : TRY(sys::NamesIn(day))) {
      const std::string dir = fmt::format("{}/{}", day, name);
      if (sys::Exists(dir + "/content")) entries.push_back(Describe(date, dir, name));
    }
  }
  std::ranges::sort(entries, {}, [](const LostEntry& e) { return std::tie(e.lost_at, e.name); });
  return entries;
}

Result<LostEntry> LostFound::Find(std::string_view name) const {
  for (LostEntry& entry : TRY(List())) {
    if (entry.name == name) return std::move(entry);
  }
  return std::unexpected(
      base::Error(Code::kNotFound, fmt::format("lost+found has no entry '{}'", name))
          .WithRemedy("Run 'tinderbox recover ls' to see what it has."));
}

Result<> LostFound::PutBack(const LostEntry& entry, const std::string& to) const {
  if (::renameat2(AT_FDCWD, entry.path.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) != 0) {
    return FailErrno(errno, fmt::format("move '{}' to '{}'", entry.path, to));
  }
  TRY(SyncPath(to.substr(0, to.rfind('/'))));
  return Remove(entry);
}

Result<> LostFound::Remove(const LostEntry& entry) const {
  const std::string dir = entry.path.substr(0, entry.path.rfind('/'));
  TRY(sys::RemoveTree(dir));
  // The day goes with its last entry.
  static_cast<void>(::remove(dir.substr(0, dir.rfind('/')).c_str()));
  return {};
}

Result<std::vector<LostEntry>> KeepWholeCaptures(
    const std::string& pool_dir, const std::function<bool(const std::string& id)>& is_redundant) {
  std::vector<LostEntry> kept;
  const LostFound lost(pool_dir);
  const std::string captures = pool_dir + "/captures";
  if (!sys::Exists(captures)) return kept;
  for (const std::string& name : TRY(ListDirectories(captures))) {
    const std::string dir = fmt::format("{}/{}", captures, name);
    const auto saved = LoadSaved(dir);
    if (!saved) continue;
    const Template& info = saved->info;
    const bool wanted = info.kind == SavedKind::kPaused || info.kind == SavedKind::kSnapshot;
    if (!wanted || is_redundant(info.source_sandbox)) continue;
    auto entry = TRY(
        lost.Keep({.kind = "capture",
                   .id = name,
                   .label = info.source_sandbox,
                   .why = fmt::format("sandbox '{}' was saved, and is lost", info.source_sandbox)},
                  dir));
    if (entry) kept.push_back(std::move(*entry));
  }
  return kept;
}

}  // namespace tinderbox::image
