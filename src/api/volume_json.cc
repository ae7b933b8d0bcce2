// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/volume_json.h"

#include <algorithm>
#include <boost/json.hpp>

#include "api/sandbox_json.h"
#include "api/text.h"

namespace tinderbox::api {
namespace {

std::string_view TypeName(volume::EntryType type) {
  switch (type) {
    case volume::EntryType::kFile: return "file";
    case volume::EntryType::kDirectory: return "directory";
    case volume::EntryType::kSymlink: return "symlink";
    case volume::EntryType::kUnknown: return "unknown";
  }
  return "unknown";
}

// A guest may set any time; what no calendar of a client holds becomes the nearest that one does.
std::string TimeText(const std::timespec& time) {
  constexpr std::int64_t kLast = 253402300799;  // the end of the year 9999
  const std::int64_t seconds = std::clamp<std::int64_t>(time.tv_sec, 0, kLast);
  return Rfc3339(seconds * 1000 + time.tv_nsec / 1'000'000);
}

}  // namespace

boost::json::object EntryJson(const volume::Entry& entry) {
  boost::json::object out = {{"name", ValidUtf8(entry.name)},
                             {"type", TypeName(entry.type)},
                             {"path", ValidUtf8(entry.path)},
                             {"size", entry.size},
                             {"mode", entry.mode},
                             {"uid", entry.uid},
                             {"gid", entry.gid},
                             {"atime", TimeText(entry.accessed)},
                             {"mtime", TimeText(entry.modified)},
                             {"ctime", TimeText(entry.changed)}};
  if (entry.target) out["target"] = ValidUtf8(*entry.target);
  return out;
}

boost::json::array EntriesJson(const std::vector<volume::Entry>& entries) {
  boost::json::array all;
  for (const volume::Entry& entry : entries) all.push_back(EntryJson(entry));
  return all;
}

}  // namespace tinderbox::api
