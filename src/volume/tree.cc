// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "volume/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <utility>

#include "sys/file.h"
#include "volume/trash.h"

namespace tinderbox::volume {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::uint32_t kDirectoryMode = 0755;
constexpr std::size_t kMaxMade = 128;  // directories by one call

EntryType TypeOf(mode_t mode) {
  if (S_ISREG(mode)) return EntryType::kFile;
  if (S_ISDIR(mode)) return EntryType::kDirectory;
  if (S_ISLNK(mode)) return EntryType::kSymlink;
  return EntryType::kUnknown;
}

std::string LinkTarget(sys::FdRef directory, const std::string& name) {
  char target[PATH_MAX];
  const ssize_t size = ::readlinkat(directory.get(), name.c_str(), target, sizeof target);
  return {target, static_cast<std::size_t>(std::max<ssize_t>(size, 0))};
}

// What `name` of `directory` is; the name "" is the directory (or whatever that descriptor is).
Result<Entry> EntryAt(sys::FdRef directory, const std::string& name, std::string path) {
  struct stat st{};
  if (::fstatat(directory.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0) {
    return FailErrno(errno, fmt::format("'{}'", path));
  }
  Entry entry{.name = path == "/" ? path : path.substr(path.rfind('/') + 1),
              .type = TypeOf(st.st_mode),
              .path = std::move(path),
              .size = static_cast<std::uint64_t>(st.st_size),
              .mode = st.st_mode & 07777,
              .uid = st.st_uid,
              .gid = st.st_gid,
              .accessed = st.st_atim,
              .modified = st.st_mtim,
              .changed = st.st_ctim,
              .target = {}};
  if (entry.type == EntryType::kSymlink) entry.target = LinkTarget(directory, name);
  return entry;
}

Result<> Apply(sys::FdRef fd, const Attributes& attributes, const std::string& path) {
  if (attributes.uid || attributes.gid) {
    const uid_t uid = attributes.uid.value_or(static_cast<uid_t>(-1));
    const gid_t gid = attributes.gid.value_or(static_cast<gid_t>(-1));
    if (::fchownat(fd.get(), "", uid, gid, AT_EMPTY_PATH) != 0) {
      return FailErrno(errno, fmt::format("set owner of '{}'", path));
    }
  }
  if (!attributes.mode) return {};
  // fchmod(2) takes no such descriptor; the file that this name leads to is the very same one.
  const std::string self = fmt::format("/proc/self/fd/{}", fd.get());
  if (::chmod(self.c_str(), *attributes.mode) != 0) {
    return FailErrno(errno, fmt::format("set mode of '{}'", path));
  }
  return {};
}

// The names in a directory, sorted. Opened by way of its O_PATH descriptor, which is one.
Result<std::vector<std::string>> NamesOf(sys::FdRef directory, std::size_t max) {
  const int fd = ::openat(directory.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOATIME);
  if (fd < 0) return FailErrno(errno, "list");
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(fd), ::closedir);
  if (!entries) {
    const int error = errno;
    ::close(fd);
    return FailErrno(error, "list");
  }
  std::vector<std::string> names;
  while (const dirent* const entry = ::readdir(entries.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (names.size() == max) {
      return Fail(Code::kResourceExhausted,
                  fmt::format("there are more than {} entries", Tree::kMaxEntries));
    }
    names.emplace_back(name);
  }
  std::ranges::sort(names);
  return names;
}

}  // namespace

Result<Entry> Tree::Stat(const Path& path) const {
  const auto fd = TRY(OpenBeneath(root_, path.Relative(), O_PATH | O_NOFOLLOW));
  return EntryAt(fd, "", path.ToString());
}

Result<std::vector<Entry>> Tree::List(const Path& path, std::uint32_t depth) const {
  struct Pending {
    std::string relative;
    std::uint32_t depth;
  };
  std::vector<Entry> all;
  std::deque<Pending> pending = {{path.Relative(), depth}};
  for (bool first = true; !pending.empty(); first = false) {
    const Pending next = std::move(pending.front());
    pending.pop_front();
    const int flags = O_PATH | O_DIRECTORY | (first ? 0 : O_NOFOLLOW);
    auto directory = OpenBeneath(root_, next.relative, flags);
    // What is listed changes meanwhile: only the one that was asked for must be there.
    if (!directory && !first) continue;
    if (!directory) return std::unexpected(std::move(directory).error());
    const std::string prefix = next.relative == "." ? "" : next.relative + "/";
    for (const std::string& name : TRY_CTX(NamesOf(*directory, kMaxEntries - all.size()),
                                           fmt::format("'{}'", path.ToString()))) {
      auto entry = EntryAt(*directory, name, "/" + prefix + name);
      if (!entry) continue;
      if (entry->type == EntryType::kDirectory && next.depth > 1) {
        pending.push_back({prefix + name, next.depth - 1});
      }
      all.push_back(*std::move(entry));
    }
  }
  return all;
}

// Each directory above `path` that is missing, owned as the one around it is.
Result<> Tree::MakeParents(const Path& path) const {
  if (path.parts().size() > kMaxMade) {
    return Fail(Code::kInvalidArgument,
                fmt::format("'{}' is more than {} directories deep", path.ToString(), kMaxMade));
  }
  for (std::size_t i = 1; i < path.parts().size(); ++i) {
    auto there = OpenBeneath(root_, path.Relative(i), O_PATH | O_DIRECTORY);
    if (there) continue;
    const auto around = TRY(OpenBeneath(root_, path.Relative(i - 1), O_PATH | O_DIRECTORY));
    const std::string& name = path.parts()[i - 1];
    struct stat st{};
    if (::fstat(around.get(), &st) != 0) return FailErrno(errno, "stat");
    if (::mkdirat(around.get(), name.c_str(), kDirectoryMode) != 0) {
      // Something that is no directory, or leads out; or somebody was quicker.
      if (errno == EEXIST) {
        TRY(OpenBeneath(root_, path.Relative(i), O_PATH | O_DIRECTORY));
        continue;
      }
      return FailErrno(errno, fmt::format("make directory '/{}'", path.Relative(i)));
    }
    (void)!::fchownat(around.get(), name.c_str(), st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW);
  }
  return {};
}

Result<Entry> Tree::MakeDirectory(const Path& path, const Attributes& attributes,
                                  bool parents) const {
  const std::string text = path.ToString();
  if (path.is_root()) {
    if (parents) return Stat(path);
    return Fail(Code::kAlreadyExists, "make directory '/': it is there already");
  }
  TRY(CheckLimit());
  if (parents) TRY(MakeParents(path));
  const auto parent = TRY(OpenBeneath(root_, path.Parent(), O_PATH | O_DIRECTORY));
  struct stat around{};
  if (::fstat(parent.get(), &around) != 0) return FailErrno(errno, fmt::format("stat '{}'", text));
  Attributes wanted = attributes;
  if (::mkdirat(parent.get(), path.name().c_str(), 0700) == 0) {
    wanted.uid = wanted.uid.value_or(around.st_uid);
    wanted.gid = wanted.gid.value_or(around.st_gid);
    wanted.mode = wanted.mode.value_or(kDirectoryMode);
  } else if (errno != EEXIST || !parents) {
    return FailErrno(errno, fmt::format("make directory '{}'", text));
  }
  const auto made = OpenBeneath(parent, path.name(), O_PATH | O_DIRECTORY | O_NOFOLLOW);
  if (!made) {
    return Fail(Code::kAlreadyExists,
                fmt::format("make directory '{}': something else is there", text));
  }
  TRY(Apply(*made, wanted, text));
  return EntryAt(*made, "", text);
}

Result<Entry> Tree::SetAttributes(const Path& path, const Attributes& attributes) const {
  const auto fd = TRY(OpenBeneath(root_, path.Relative(), O_PATH | O_NOFOLLOW));
  const Entry entry = TRY(EntryAt(fd, "", path.ToString()));
  if (entry.type != EntryType::kFile && entry.type != EntryType::kDirectory) {
    return Fail(Code::kInvalidArgument,
                fmt::format("'{}' is neither a file nor a directory", entry.path));
  }
  TRY(Apply(fd, attributes, entry.path));
  return EntryAt(fd, "", path.ToString());
}

Result<> Tree::Remove(const Path& path) const {
  if (path.is_root()) {
    return Fail(Code::kInvalidArgument, "the root of a volume cannot be removed");
  }
  const auto parent = TRY(OpenBeneath(root_, path.Parent(), O_PATH | O_DIRECTORY));
  TRY(trash_.Take(parent, path.name()));
  if (usage_) usage_->MarkStale();
  return {};
}

// Counts first if what is known may be too much.
Result<> Tree::CheckLimit() const {
  if (!usage_ || usage_->Fits(kChargePerFile)) return {};
  if (usage_->stale()) TRY(usage_->Recount(root_));
  if (usage_->Fits(kChargePerFile)) return {};
  return OverLimit(*usage_);
}

Result<Tree::File> Tree::OpenFile(const Path& path) const {
  // Looked at first, opened then by way of the very same inode: opening a FIFO or a device may
  // block, or do something.
  const auto fd = TRY(OpenBeneath(root_, path.Relative(), O_PATH));
  struct stat st{};
  if (::fstat(fd.get(), &st) != 0) return FailErrno(errno, fmt::format("'{}'", path.ToString()));
  if (!S_ISREG(st.st_mode)) {
    return Fail(Code::kInvalidArgument, fmt::format("'{}' is not a regular file", path.ToString()));
  }
  const std::string self = fmt::format("/proc/self/fd/{}", fd.get());
  auto file = TRY_CTX(sys::Open(self, O_RDONLY | O_NONBLOCK), fmt::format("'{}'", path.ToString()));
  return File{.fd = std::move(file), .size = static_cast<std::uint64_t>(st.st_size)};
}

Result<std::unique_ptr<Upload>> Tree::BeginUpload(const Path& path, const Attributes& attributes,
                                                  bool parents) const {
  if (path.is_root()) return Fail(Code::kInvalidArgument, "'/' is a directory");
  TRY(CheckLimit());
  if (parents) TRY(MakeParents(path));
  auto parent = TRY(OpenBeneath(root_, path.Parent(), O_PATH | O_DIRECTORY));
  struct stat st{};
  if (::fstatat(parent.get(), path.name().c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
      S_ISDIR(st.st_mode)) {
    return Fail(Code::kInvalidArgument, fmt::format("'{}' is a directory", path.ToString()));
  }
  return Upload::Begin(incoming_, {.directory = std::move(parent),
                                   .name = path.name(),
                                   .path = path.ToString(),
                                   .attributes = attributes,
                                   .usage = usage_});
}

}  // namespace tinderbox::volume
