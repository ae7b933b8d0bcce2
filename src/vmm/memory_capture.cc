// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/memory_capture.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <string_view>
#include <utility>

#include "sys/file.h"
#include "vmm/memory_file.h"
#include "vmm/starting_vm.h"

namespace tinderbox::vmm {

using base::Code;
using base::Error;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::size_t kChunk = 1 << 20;
constexpr std::size_t kPage = 4096;
constexpr std::uint64_t kWriteOut = 8 << 20;

// A file's content, to be compared with.
class FileView {
 public:
  static Result<FileView> Map(sys::FdRef file, std::uint64_t size) {
    void* const at = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
    if (at == MAP_FAILED) return FailErrno(errno, "map a memory file");
    return FileView(static_cast<const char*>(at), size);
  }
  FileView(FileView&& other) noexcept
      : at_(std::exchange(other.at_, nullptr)), size_(other.size_) {}
  FileView& operator=(FileView&&) = delete;
  ~FileView() {
    if (at_ != nullptr) ::munmap(const_cast<char*>(at_), size_);
  }
  const char* data() const { return at_; }

 private:
  FileView(const char* at, std::uint64_t size) : at_(at), size_(size) {}
  const char* at_;
  std::uint64_t size_;
};

bool IsZero(const char* page) {
  static constexpr char kZeros[kPage] = {};
  return std::memcmp(page, kZeros, kPage) == 0;
}

// Sorted, and those that overlap made one. Those that only touch may be of two mappings.
std::vector<sys::PageRange> Union(std::vector<sys::PageRange> ranges) {
  std::ranges::sort(ranges, {}, &sys::PageRange::begin);
  std::vector<sys::PageRange> merged;
  for (const sys::PageRange& range : ranges) {
    if (!merged.empty() && range.begin < merged.back().end) {
      merged.back().end = std::max(merged.back().end, range.end);
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

Result<> CheckTime(base::Deadline deadline) {
  if (deadline.passed()) return Fail(Code::kDeadlineExceeded, "save guest memory");
  return {};
}

}  // namespace

Result<MemoryCapture> MemoryCapture::Open(LaunchedVm& vm, const std::string& jail_path) {
  auto process = sys::Open(fmt::format("/proc/{}", vm.vmm_pid()), O_RDONLY | O_DIRECTORY);
  // Only after that: a VM that lives now is the one whose directory was opened.
  if (HasEnded(vm)) return Fail(Code::kUnavailable, "save guest memory: the VMM has ended");
  if (!process) return std::unexpected(std::move(process).error());

  // The bind mount of a file at the jail's root, which is not the VMM's to change.
  struct stat file{};
  const bool found =
      ::fstatat(process->get(), ("root" + jail_path).c_str(), &file, AT_SYMLINK_NOFOLLOW) == 0 &&
      S_ISREG(file.st_mode);
  std::vector<sys::FileMapping> mappings;
  if (found) mappings = TRY(sys::MappingsOf(*process, file));
  std::uint64_t covered = 0;
  std::ranges::sort(mappings, {}, &sys::FileMapping::offset);
  for (const sys::FileMapping& mapping : mappings) {
    if (mapping.offset == covered) covered += mapping.end - mapping.begin;
  }
  if (!found || covered != static_cast<std::uint64_t>(file.st_size))
    return std::unexpected(
        Error(Code::kFailedPrecondition,
              fmt::format("VM '{}' was not launched such that its memory can be saved", vm.id()))
            .WithRemedy("Launch it with a memory file as its base."));
  return MemoryCapture(vm.vmm_pid(), std::move(*process), std::move(mappings), covered);
}

// In one copy, unlike /proc/PID/mem. By its number the process might be another one by now, if ours
// has ended: who asks finds out, since a VM that has ended is no snapshot's.
Result<> MemoryCapture::Read(std::uint64_t address, char* to, std::size_t size) const {
  while (size > 0) {
    const iovec local{.iov_base = to, .iov_len = size};
    const iovec remote{.iov_base = reinterpret_cast<void*>(address), .iov_len = size};
    const ssize_t got = ::process_vm_readv(pid_, &local, 1, &remote, 1, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno != ESRCH) return FailErrno(errno, "read guest memory");
    if (got <= 0) return Fail(Code::kUnavailable, "read guest memory: the VMM has ended");
    to += got;
    address += static_cast<std::uint64_t>(got);
    size -= static_cast<std::size_t>(got);
  }
  return {};
}

template <typename Work>
Result<> MemoryCapture::ForChanges(base::Deadline deadline, const Work& work) {
  std::vector<sys::PageRange> ranges = std::exchange(seen_, {});
  for (const sys::FileMapping& mapping : mappings_) {
    std::ranges::move(TRY(sys::ChangedPages(process_, mapping.begin, mapping.end)),
                      std::back_inserter(seen_));
  }
  ranges.insert(ranges.end(), seen_.begin(), seen_.end());
  ranges = Union(std::move(ranges));
  std::vector<char> buffer(kChunk);
  for (const sys::PageRange& range : ranges) {
    const auto mapping = std::ranges::find_if(mappings_, [&](const sys::FileMapping& each) {
      return each.begin <= range.begin && range.end <= each.end;
    });
    if (mapping == mappings_.end()) return Fail(Code::kInternal, "a page of no mapping");
    for (std::uint64_t at = range.begin; at < range.end;) {
      TRY(CheckTime(deadline));
      const std::size_t size = std::min<std::uint64_t>(buffer.size(), range.end - at);
      TRY(Read(at, buffer.data(), size));
      TRY(work(std::string_view(buffer.data(), size), at - mapping->begin + mapping->offset));
      at += size;
    }
  }
  return {};
}

Result<std::uint64_t> MemoryCapture::SaveChanges(const std::string& base, sys::FdRef to,
                                                 base::Deadline deadline) {
  const auto from = TRY(sys::Open(base, O_RDONLY));
  struct stat status{};
  if (::fstat(from.get(), &status) != 0) return FailErrno(errno, fmt::format("stat '{}'", base));
  if (static_cast<std::uint64_t>(status.st_size) != size_)
    return Fail(Code::kInvalidArgument,
                fmt::format("'{}' has {} bytes, guest memory {}", base, status.st_size, size_));
  TRY(CloneOrCopy(from, to, deadline));
  std::uint64_t written = 0, begun = 0;
  TRY(ForChanges(deadline, [&](std::string_view bytes, std::uint64_t offset) -> Result<> {
    // Zeros are written like all else: what the guest has cleared is not what the base holds.
    TRY(WriteAt(to, bytes.data(), bytes.size(), offset));
    written += bytes.size();
    // The disk begins while we go on: whoever syncs later has less to wait for. A hint, no more.
    if (written - begun < kWriteOut) return {};
    (void)::sync_file_range(to.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
    begun = written;
    return {};
  }));
  return written;
}

Result<std::uint64_t> MemoryCapture::UpdateChanges(sys::FdRef to, base::Deadline deadline) {
  const FileView file = TRY(FileView::Map(to, size_));
  std::uint64_t written = 0;
  TRY(ForChanges(deadline, [&](std::string_view bytes, std::uint64_t offset) -> Result<> {
    for (std::size_t page = 0; page < bytes.size();) {
      std::size_t end = page;
      while (end < bytes.size() &&
             std::memcmp(bytes.data() + end, file.data() + offset + end, kPage) != 0) {
        end += kPage;
      }
      if (end > page) TRY(WriteAt(to, bytes.data() + page, end - page, offset + page));
      written += end - page;
      page = end + kPage;
    }
    return {};
  }));
  return written;
}

Result<std::uint64_t> MemoryCapture::SaveAll(sys::FdRef to, base::Deadline deadline) const {
  if (::ftruncate(to.get(), static_cast<off_t>(size_)) != 0)
    return FailErrno(errno, "set the size of a snapshot's file");
  std::vector<char> buffer(kChunk);
  std::uint64_t written = 0;
  for (const sys::FileMapping& mapping : mappings_) {
    for (std::uint64_t at = mapping.begin; at < mapping.end;) {
      TRY(CheckTime(deadline));
      const std::size_t size = std::min<std::uint64_t>(buffer.size(), mapping.end - at);
      TRY(Read(at, buffer.data(), size));
      for (std::size_t page = 0; page < size; page += kPage) {
        if (IsZero(buffer.data() + page)) continue;
        TRY(WriteAt(to, buffer.data() + page, kPage, at + page - mapping.begin + mapping.offset));
        written += kPage;
      }
      at += size;
    }
  }
  return written;
}

}  // namespace tinderbox::vmm
