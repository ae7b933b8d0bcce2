// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/memory_capture.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

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

bool IsZero(const char* page) {
  static constexpr char kZeros[kPage] = {};
  return std::memcmp(page, kZeros, kPage) == 0;
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
  auto memory = TRY(sys::OpenAt(*process, "mem", O_RDONLY));
  return MemoryCapture(std::move(memory), std::move(*process), std::move(mappings), covered);
}

Result<> MemoryCapture::Read(std::uint64_t address, char* to, std::size_t size) const {
  while (size > 0) {
    const ssize_t got = ::pread(memory_.get(), to, size, static_cast<off_t>(address));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FailErrno(errno, "read guest memory");
    if (got == 0) return Fail(Code::kUnavailable, "read guest memory: the VMM has ended");
    to += got;
    address += static_cast<std::uint64_t>(got);
    size -= static_cast<std::size_t>(got);
  }
  return {};
}

Result<std::uint64_t> MemoryCapture::SaveChanges(const std::string& base, sys::FdRef to,
                                                 base::Deadline deadline) const {
  const auto from = TRY(sys::Open(base, O_RDONLY));
  struct stat status{};
  if (::fstat(from.get(), &status) != 0) return FailErrno(errno, fmt::format("stat '{}'", base));
  if (static_cast<std::uint64_t>(status.st_size) != size_)
    return Fail(Code::kInvalidArgument,
                fmt::format("'{}' has {} bytes, guest memory {}", base, status.st_size, size_));
  TRY(CloneOrCopy(from, to, deadline));
  std::vector<char> buffer(kChunk);
  std::uint64_t written = 0;
  for (const sys::FileMapping& mapping : mappings_) {
    for (const sys::PageRange& range :
         TRY(sys::ChangedPages(process_, mapping.begin, mapping.end))) {
      for (std::uint64_t at = range.begin; at < range.end;) {
        TRY(CheckTime(deadline));
        const std::size_t size = std::min<std::uint64_t>(buffer.size(), range.end - at);
        TRY(Read(at, buffer.data(), size));
        // Zeros are written like all else: what the guest has cleared is not what the base holds.
        TRY(WriteAt(to, buffer.data(), size, at - mapping.begin + mapping.offset));
        at += size;
        written += size;
      }
    }
  }
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
