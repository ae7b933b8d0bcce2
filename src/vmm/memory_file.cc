// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/memory_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "sys/file.h"
#include "sys/reflink.h"

namespace tinderbox::vmm {

using base::Code;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::size_t kChunk = 1 << 20;

Result<> CopyExtent(sys::FdRef from, sys::FdRef to, off_t begin, off_t end,
                    base::Deadline deadline) {
  std::vector<char> buffer(kChunk);
  while (begin < end) {
    if (deadline.passed()) return base::Fail(Code::kDeadlineExceeded, "copy a memory file");
    const auto want = std::min(buffer.size(), static_cast<std::size_t>(end - begin));
    const ssize_t got = ::pread(from.get(), buffer.data(), want, begin);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FailErrno(errno, "read a memory file");
    if (got == 0) return base::Fail(Code::kDataLoss, "read a memory file: it ends early");
    TRY(WriteAt(to, buffer.data(), static_cast<std::size_t>(got),
                static_cast<std::uint64_t>(begin)));
    begin += got;
  }
  return {};
}

}  // namespace

Result<NewFile> NewFile::Create(const std::string& path) {
  sys::UniqueFd fd = TRY(sys::Open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  return NewFile(path, std::move(fd));
}

NewFile::NewFile(NewFile&& other) noexcept
    : path_(std::exchange(other.path_, {})), fd_(std::move(other.fd_)) {}

NewFile::~NewFile() {
  // Best effort: that it could not be finished is the error that counts.
  if (!path_.empty()) (void)sys::RemoveFile(path_);
}

Result<> NewFile::Seal() {
  if (::fchmod(fd_.get(), 0444) != 0)
    return FailErrno(errno, fmt::format("set the mode of '{}'", path_));
  return {};
}

Result<> WriteAt(sys::FdRef to, const char* data, std::size_t size, std::uint64_t offset) {
  while (size > 0) {
    const ssize_t put = ::pwrite(to.get(), data, size, static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return FailErrno(errno, "write a snapshot's file");
    data += put;
    size -= static_cast<std::size_t>(put);
    offset += static_cast<std::uint64_t>(put);
  }
  return {};
}

Result<> CloneOrCopy(sys::FdRef from, sys::FdRef to, base::Deadline deadline) {
  const auto cloned = sys::CloneFile(from, to);
  if (cloned || cloned.error().code() != Code::kUnimplemented) return cloned;
  struct stat status{};
  if (::fstat(from.get(), &status) != 0) return FailErrno(errno, "look at a memory file");
  if (::ftruncate(to.get(), status.st_size) != 0)
    return FailErrno(errno, "set the size of a snapshot's file");
  for (off_t begin = 0; begin < status.st_size;) {
    begin = ::lseek(from.get(), begin, SEEK_DATA);
    if (begin < 0 && errno == ENXIO) break;  // nothing but a hole is left
    if (begin < 0) return FailErrno(errno, "look for the data in a memory file");
    const off_t end = ::lseek(from.get(), begin, SEEK_HOLE);
    if (end < 0) return FailErrno(errno, "look for the holes in a memory file");
    TRY(CopyExtent(from, to, begin, end, deadline));
    begin = end;
  }
  return {};
}

}  // namespace tinderbox::vmm
