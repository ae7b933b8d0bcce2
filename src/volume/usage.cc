// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "volume/usage.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <new>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace tinderbox::volume {

using base::FailErrno;
using base::Result;

namespace {

constexpr std::size_t kPageSize = 4096;
// A walk holds a descriptor per level.
constexpr std::size_t kMaxDepth = 512;

}  // namespace

struct Usage::Page {
  std::atomic<std::int64_t> used{0};
  std::atomic<std::uint64_t> limit{0};
  std::atomic<bool> closed{false};
  std::atomic<bool> stale{true};
  std::atomic<bool> refused{false};
};

Result<std::shared_ptr<Usage>> Usage::MapPage(int fd) {
  static_assert(sizeof(Page) <= kPageSize && std::atomic<std::int64_t>::is_always_lock_free);
  void* const at = ::mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) return FailErrno(errno, "map a volume's usage");
  return std::shared_ptr<Usage>(new Usage(static_cast<Page*>(at)));
}

Result<std::shared_ptr<Usage>> Usage::Create(std::uint64_t limit_bytes) {
  sys::UniqueFd fd(::memfd_create("volume-usage", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd || ::ftruncate(fd.get(), kPageSize) != 0)
    return FailErrno(errno, "make the page of a volume's usage");
  // A server could cut it off, and the daemon would die of its next access.
  if (::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return FailErrno(errno, "seal the page of a volume's usage");
  auto usage = TRY(MapPage(fd.get()));
  new (usage->page_) Page;
  usage->page_->limit = limit_bytes;
  usage->fd_ = std::move(fd);
  return usage;
}

Result<std::shared_ptr<Usage>> Usage::Map(const sys::UniqueFd& fd) { return MapPage(fd.get()); }

Usage::~Usage() { ::munmap(page_, kPageSize); }

std::uint64_t Usage::used() const {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(page_->used, 0));
}

std::uint64_t Usage::limit() const { return page_->limit; }

bool Usage::Fits(std::uint64_t bytes) {
  const std::uint64_t most = page_->limit;
  if (most == 0) return true;
  const std::uint64_t now = used();
  if (now <= most && bytes <= most - now) return true;
  page_->refused = true;
  return false;
}

void Usage::Add(std::int64_t bytes) { page_->used += bytes; }
void Usage::SetClosed(bool closed) { page_->closed = closed; }
bool Usage::closed() const { return page_->closed; }
void Usage::MarkStale() { page_->stale = true; }
bool Usage::stale() const { return page_->stale; }
bool Usage::TakeRefused() { return page_->refused.exchange(false); }

namespace {

// Adds up what is below `directory`. Strangers change it meanwhile: no link is followed, and what
// has gone is not an error.
class Counter {
 public:
  Result<> Walk(sys::UniqueFd directory, std::size_t depth) {
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(directory.get()), ::closedir);
    if (!stream) return FailErrno(errno, "read a directory of a volume");
    const int fd = directory.Release();  // the stream's now
    std::vector<std::string> below;
    while (const dirent* entry = ::readdir(stream.get())) {
      const std::string_view name = entry->d_name;
      if (name == "." || name == "..") continue;
      struct stat st{};
      if (::fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
      if (st.st_nlink > 1 && !S_ISDIR(st.st_mode) && !linked_.insert(st.st_ino).second) continue;
      total_ += ChargeOf(st.st_mode, static_cast<std::uint64_t>(st.st_size),
                         static_cast<std::uint64_t>(st.st_blocks));
      if (S_ISDIR(st.st_mode)) below.emplace_back(name);
    }
    if (!below.empty() && depth == kMaxDepth) {
      return base::Fail(base::Code::kResourceExhausted,
                        "count a volume: its directories are nested too deeply");
    }
    for (const std::string& name : below) {
      sys::UniqueFd next(
          ::openat(fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!next && (errno == EMFILE || errno == ENFILE))
        return FailErrno(errno, "read a directory of a volume");
      if (next) TRY(Walk(std::move(next), depth + 1));
    }
    return {};
  }
  std::uint64_t total() const { return total_; }

 private:
  std::uint64_t total_ = 0;
  std::set<ino_t> linked_;
};

}  // namespace

Result<> Usage::Recount(sys::FdRef root) {
  page_->stale = false;
  // A write during the walk may be counted twice, but is never missed.
  const std::int64_t before = page_->used;
  Counter counter;
  sys::UniqueFd directory(::openat(root.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return FailErrno(errno, "open a volume");
  if (auto walked = counter.Walk(std::move(directory), 0); !walked) {
    // Nothing is known, so nothing more is taken in.
    page_->stale = true;
    page_->used = std::max<std::int64_t>(before, static_cast<std::int64_t>(limit()));
    return walked;
  }
  page_->used += static_cast<std::int64_t>(counter.total()) - before;
  return {};
}

std::unexpected<base::Error> OverLimit(const Usage& usage) {
  return std::unexpected(
      base::Error(base::Code::kResourceExhausted,
                  fmt::format("the volume holds {} MiB of the {} MiB that it may hold",
                              usage.used() >> 20, usage.limit() >> 20))
          .WithErrno(EDQUOT)
          .WithRemedy("Remove files from it, or raise storage.volume_gib in the configuration."));
}

std::uint64_t ChargeOf(std::uint32_t mode, std::uint64_t size, std::uint64_t blocks) {
  if (!S_ISREG(mode)) return kChargePerFile;
  const std::uint64_t rounded = (size + kPageSize - 1) / kPageSize * kPageSize;
  return kChargePerFile + std::min(blocks * 512, rounded);
}

}  // namespace tinderbox::volume
