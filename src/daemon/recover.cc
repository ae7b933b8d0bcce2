// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "daemon/recover.h"

#include <fmt/format.h>

#include <utility>

namespace tinderbox::daemon {

using base::Code;
using base::Result;
using image::LostEntry;

namespace {

boost::json::object JsonOf(const LostEntry& entry) {
  return {{"name", entry.name},        {"kind", entry.item.kind}, {"id", entry.item.id},
          {"label", entry.item.label}, {"why", entry.item.why},   {"lostAt", entry.lost_at},
          {"path", entry.path}};
}

}  // namespace

Result<boost::json::array> Recovery::List() {
  boost::json::array list;
  for (const LostEntry& entry : TRY(Lost().List())) list.push_back(JsonOf(entry));
  return list;
}

Result<boost::json::object> Recovery::Adopt(const std::string& name, const std::string& as) {
  const std::lock_guard lock(mutex_);
  const LostEntry entry = TRY(Lost().Find(name));
  if (entry.item.kind == "volume") return AdoptVolume(entry, as);
  if (entry.item.kind == "sandbox") return AdoptSandbox(entry);
  return std::unexpected(
      base::Error(Code::kFailedPrecondition,
                  fmt::format("adopt '{}': a {} cannot be taken up", name, entry.item.kind))
          .WithRemedy(fmt::format("Look at its files in '{}', then run 'tinderbox recover rm {}'.",
                                  entry.path, name)));
}

Result<boost::json::object> Recovery::AdoptVolume(const LostEntry& entry, const std::string& as) {
  const auto fetch = [&](const std::string& to) { return Lost().PutBack(entry, to); };
  auto volume = system_.volumes->Adopt(entry.item.id, as, fetch);
  if (!volume && volume.error().code() == Code::kNotFound) {
    return std::unexpected(
        base::Error(Code::kFailedPrecondition,
                    fmt::format("adopt '{}': nothing is known of this volume", entry.name))
            .WithRemedy(
                fmt::format("Make a new volume, and copy its files from '{}'.", entry.path)));
  }
  if (!volume) return std::unexpected(std::move(volume).error());
  return boost::json::object{{"kind", "volume"}, {"id", volume->id}, {"label", volume->name}};
}

Result<boost::json::object> Recovery::AdoptSandbox(const LostEntry& entry) {
  const auto fetch = [&](const std::string& to) { return Lost().PutBack(entry, to); };
  const auto info = TRY(system_.manager->Adopt(entry.item.id, fetch));
  return boost::json::object{{"kind", "sandbox"}, {"id", info.id}, {"label", entry.item.label}};
}

Result<> Recovery::Remove(const std::string& name) {
  const std::lock_guard lock(mutex_);
  const LostEntry entry = TRY(Lost().Find(name));
  if (entry.item.kind == "volume") {
    // A guest made its tree, which may be of any depth.
    TRY(system_.volumes->Discard(entry.path));
    TRY(system_.volumes->ForgetLost(entry.item.id));
  }
  return Lost().Remove(entry);
}

}  // namespace tinderbox::daemon
