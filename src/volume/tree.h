// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "sys/fd.h"
#include "volume/path.h"
#include "volume/upload.h"
#include "volume/usage.h"

namespace tinderbox::volume {

class Trash;

enum class EntryType { kFile, kDirectory, kSymlink, kUnknown };

// What stands at one place of a volume. A link is told as itself.
struct Entry {
  std::string name;  // "/" of the root
  EntryType type = EntryType::kUnknown;
  std::string path;  // "/dir/name"
  std::uint64_t size = 0;
  std::uint32_t mode = 0;  // the permission bits
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::timespec accessed{};
  std::timespec modified{};
  std::timespec changed{};
  std::optional<std::string> target;  // of a link, as it is written
};

// Work beneath one directory into which strangers write whatever they like at the same time: no
// path and no link leads out of it, nothing but regular files and directories is ever opened, and
// what is asked for takes effect whole or not at all. Blocks; safe from any thread. Errors:
// kNotFound, kInvalidArgument (what stands there is of another kind), kAlreadyExists,
// kResourceExhausted (no room; with EDQUOT: the volume's own limit).
class Tree {
 public:
  // `directory` is its root. `trash` and `incoming`, of the same file system, must outlive it.
  // `usage` may be null: nothing is counted then.
  Tree(sys::UniqueFd directory, Trash& trash, sys::FdRef incoming,
       std::shared_ptr<Usage> usage = nullptr)
      : root_(std::move(directory)), trash_(trash), incoming_(incoming), usage_(std::move(usage)) {}

  base::Result<Entry> Stat(const Path& path) const;
  // What is in a directory, and in those below it down to `depth` (1: itself alone), each
  // directory's names in order, before what is in them. kResourceExhausted for more than
  // kMaxEntries. Links are not followed.
  static constexpr std::size_t kMaxEntries = 50'000;
  base::Result<std::vector<Entry>> List(const Path& path, std::uint32_t depth) const;
  // kAlreadyExists where something stands there already, unless it is a directory and `parents`.
  base::Result<Entry> MakeDirectory(const Path& path, const Attributes& attributes,
                                    bool parents) const;
  // Of a file or a directory.
  base::Result<Entry> SetAttributes(const Path& path, const Attributes& attributes) const;
  // A directory goes at once with all that is in it, however much that is. Not the root.
  base::Result<> Remove(const Path& path) const;

  struct File {
    sys::UniqueFd fd;
    std::uint64_t size = 0;
  };
  base::Result<File> OpenFile(const Path& path) const;  // to read; regular files alone
  // A file that is there already keeps its owner and mode where `attributes` have none.
  base::Result<std::unique_ptr<Upload>> BeginUpload(const Path& path, const Attributes& attributes,
                                                    bool parents) const;

 private:
  base::Result<> MakeParents(const Path& path) const;
  base::Result<> CheckLimit() const;

  sys::UniqueFd root_;
  Trash& trash_;
  sys::FdRef incoming_;
  std::shared_ptr<Usage> usage_;
};

}  // namespace tinderbox::volume
