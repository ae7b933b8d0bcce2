// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace tinderbox::image {

// Data that was found in the pool without a record. It is kept until the administrator decides.
struct LostItem {
  std::string kind;   // "volume", "sandbox", "capture"
  std::string id;     // its id when it was in use
  std::string label;  // a name for people; may be empty
  std::string why;    // why it is here, in words
};
struct LostEntry {
  LostItem item;
  std::string name;     // "<kind>-<id>", with a number behind if that is taken; one path component
  std::string lost_at;  // RFC 3339
  std::string path;     // of the data
};

// The pool's lost+found: <pool>/lost+found/<date>/<name>/, mode 0700, with the data (`content`) and
// a description (`lost.json`). Data gets here and back by one rename. Blocks; safe from any thread,
// but two calls about one entry must not overlap.
class LostFound {
 public:
  explicit LostFound(const std::string& pool_dir) : dir_(pool_dir + "/lost+found") {}

  // Moves `path` (of the same file system) here. No entry if there is nothing at `path`.
  base::Result<std::optional<LostEntry>> Keep(const LostItem& item, const std::string& path) const;
  // The oldest first. Entries that hold no data are left out.
  base::Result<std::vector<LostEntry>> List() const;
  base::Result<LostEntry> Find(std::string_view name) const;  // kNotFound
  // Moves the data to `to`, where nothing may be (kAlreadyExists), and removes the entry.
  base::Result<> PutBack(const LostEntry& entry, const std::string& to) const;
  // Removes the entry with its data.
  base::Result<> Remove(const LostEntry& entry) const;

 private:
  std::string dir_;
};

// Moves states that were saved in full, but never put into their place, from the pool's captures to
// lost+found. Boot snapshots and forks, which can be made again, stay, and so does what
// `is_redundant` accepts: it gets the id of the sandbox that was saved.
base::Result<std::vector<LostEntry>> KeepWholeCaptures(
    const std::string& pool_dir, const std::function<bool(const std::string& id)>& is_redundant);

}  // namespace tinderbox::image
