// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/memory_capture.h"

#include <fcntl.h>
#include <fmt/format.h>
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

bool IsZero(const char* page) {
  static constexpr char kZeros[kPage] = {};
  return std::memcmp(page, kZeros, kPage) == 0;
}

Result<> CheckTime(base::Deadline deadline) {
  if (deadline.passed()) return Fail(Code::kDeadlineExceeded, "save guest memory");
  return {};
}

// Reads `size` bytes at `offset`, or fewer at the file's end. Not through a mapping, whose pages
// end the process if they cannot be read.
Result<std::size_t> ReadAt(sys::FdRef file, char* to, std::size_t size, std::uint64_t offset) {
  for (std::size_t done = 0;;) {
    const ssize_t got =
        ::pread(file.get(), to + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FailErrno(errno, "read a snapshot's file");
    done += static_cast<std::size_t>(got);
    if (got == 0 || done == size) return done;
  }
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
  MemoryCapture capture(vm.vmm_pid(), std::move(*process), file);
  if (found) capture.mappings_ = TRY(capture.FindMappings());
  if (capture.mappings_.empty())
    return std::unexpected(
        Error(Code::kFailedPrecondition,
              fmt::format("VM '{}' was not launched such that its memory can be saved", vm.id()))
            .WithRemedy("Launch it with a memory file as its base."));
  return capture;
}

Result<std::vector<sys::FileMapping>> MemoryCapture::FindMappings() const {
  return sys::CoverFile(TRY(sys::MappingsOf(process_, file_)), size_);
}

Result<> MemoryCapture::CheckMappings() const {
  if (TRY(FindMappings()) == mappings_) return {};
  return Fail(Code::kAborted, "save guest memory: the VMM has changed where it maps it");
}

Result<sys::FrozenProcess> MemoryCapture::Freeze(base::Deadline deadline) const {
  return TRY_CTX(sys::FrozenProcess::Freeze(process_, deadline), "save guest memory");
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
Result<> MemoryCapture::ForPieces(const std::vector<sys::FilePiece>& pieces,
                                  base::Deadline deadline, const Work& work) const {
  std::vector<char> buffer(kChunk);
  for (const sys::FilePiece& piece : pieces) {
    for (std::uint64_t at = 0; at < piece.size;) {
      TRY(CheckTime(deadline));
      const std::size_t size = std::min<std::uint64_t>(buffer.size(), piece.size - at);
      TRY(Read(piece.address + at, buffer.data(), size));
      TRY(work(std::string_view(buffer.data(), size), piece.offset + at));
      at += size;
    }
  }
  return {};
}

template <typename Work>
Result<> MemoryCapture::ForChanges(base::Deadline deadline, const Work& work) {
  TRY(CheckMappings());
  std::vector<sys::PageRange> ranges = std::exchange(seen_, {});
  for (const sys::FileMapping& mapping : mappings_) {
    std::ranges::move(TRY(sys::ChangedPages(process_, mapping.begin, mapping.end)),
                      std::back_inserter(seen_));
  }
  ranges.insert(ranges.end(), seen_.begin(), seen_.end());
  return ForPieces(sys::PiecesOf(mappings_, std::move(ranges)), deadline, work);
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
  std::vector<char> saved(kChunk);
  std::uint64_t written = 0;
  TRY(ForChanges(deadline, [&](std::string_view bytes, std::uint64_t offset) -> Result<> {
    const std::size_t there = TRY(ReadAt(to, saved.data(), bytes.size(), offset));
    if (there != bytes.size()) return Fail(Code::kDataLoss, "a snapshot's file has become shorter");
    for (std::size_t page = 0; page < bytes.size();) {
      std::size_t end = page;
      while (end < bytes.size() &&
             std::memcmp(bytes.data() + end, saved.data() + end, kPage) != 0) {
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
  TRY(CheckMappings());
  if (::ftruncate(to.get(), static_cast<off_t>(size_)) != 0)
    return FailErrno(errno, "set the size of a snapshot's file");
  std::vector<sys::PageRange> all;
  for (const sys::FileMapping& mapping : mappings_) all.push_back({mapping.begin, mapping.end});
  std::uint64_t written = 0;
  TRY(ForPieces(sys::PiecesOf(mappings_, std::move(all)), deadline,
                [&](std::string_view bytes, std::uint64_t offset) -> Result<> {
                  for (std::size_t page = 0; page < bytes.size(); page += kPage) {
                    if (IsZero(bytes.data() + page)) continue;
                    TRY(WriteAt(to, bytes.data() + page, kPage, offset + page));
                    written += kPage;
                  }
                  return {};
                }));
  return written;
}

}  // namespace tinderbox::vmm
