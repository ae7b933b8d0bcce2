// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "base/id.h"
#include "sys/directory.h"

namespace tinderbox::sys {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::size_t kRandomDigits = 8;  // in the name of a temporary file

}  // namespace

Result<UniqueFd> Open(const std::string& path, int flags, mode_t mode) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  if (fd < 0) return FailErrno(errno, fmt::format("open '{}'", path));
  return UniqueFd(fd);
}

Result<UniqueFd> OpenAt(FdRef dir, const std::string& name, int flags, mode_t mode) {
  const int fd = ::openat(dir.get(), name.c_str(), flags | O_CLOEXEC, mode);
  if (fd < 0) return FailErrno(errno, fmt::format("open '{}'", name));
  return UniqueFd(fd);
}

Result<std::optional<UniqueFd>> OpenIfExists(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT) return std::optional<UniqueFd>();
  if (fd < 0) return FailErrno(errno, fmt::format("open '{}'", path));
  return std::optional<UniqueFd>(UniqueFd(fd));
}

Result<std::string> ReadAll(FdRef fd, std::size_t max) {
  std::string data;
  char buffer[16384];
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FailErrno(errno, "read");
    if (n == 0) return data;
    if (data.size() + static_cast<std::size_t>(n) > max) {
      return Fail(Code::kResourceExhausted, fmt::format("read: more than {} bytes", max));
    }
    data.append(buffer, static_cast<std::size_t>(n));
  }
}

Result<std::string> ReadFile(const std::string& path, std::size_t max) {
  const UniqueFd fd = TRY(Open(path, O_RDONLY));
  return TRY_CTX(ReadAll(fd, max), fmt::format("'{}'", path));
}

Result<> WriteAll(FdRef fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = ::write(fd.get(), data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FailErrno(errno, "write");
    data.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

Result<> WriteExisting(const std::string& path, std::string_view data) {
  const UniqueFd fd = TRY(Open(path, O_WRONLY));
  // One write: the kernel's files take a value whole or not at all.
  if (::write(fd.get(), data.data(), data.size()) < 0) {
    return FailErrno(errno, fmt::format("write '{}' to '{}'", data, path));
  }
  return {};
}

Result<> WriteFileAtomic(const std::string& path, std::string_view data, mode_t mode) {
  const std::string temporary = fmt::format("{}.{}.tmp", path, base::RandomHex(kRandomDigits / 2));
  const auto write = [&]() -> Result<> {
    const UniqueFd fd = TRY(Open(temporary, O_WRONLY | O_CREAT | O_EXCL, mode));
    TRY_CTX(WriteAll(fd, data), fmt::format("'{}'", temporary));
    if (::fsync(fd.get()) != 0) return FailErrno(errno, fmt::format("fsync '{}'", temporary));
    if (::rename(temporary.c_str(), path.c_str()) != 0) {
      return FailErrno(errno, fmt::format("rename '{}' to '{}'", temporary, path));
    }
    return {};
  };
  if (auto written = write(); !written) {
    ::unlink(temporary.c_str());
    return written;
  }
  const auto slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const UniqueFd dir = TRY(Open(parent, O_RDONLY | O_DIRECTORY));
  if (::fsync(dir.get()) != 0) return FailErrno(errno, fmt::format("fsync '{}'", parent));
  return {};
}

Result<std::size_t> RemoveTemporaries(const std::string& directory) {
  constexpr std::string_view kEnd = ".tmp";
  std::size_t removed = 0;
  for (const std::string& name : TRY(NamesIn(directory))) {
    const std::size_t tail = 1 + kRandomDigits + kEnd.size();
    if (!name.ends_with(kEnd) || name.size() <= tail || name[name.size() - tail] != '.') continue;
    const std::string digits = name.substr(name.size() - tail + 1, kRandomDigits);
    if (digits.find_first_not_of("0123456789abcdef") != std::string::npos) continue;
    TRY(RemoveFile(fmt::format("{}/{}", directory, name)));
    ++removed;
  }
  return removed;
}

Result<struct stat> Stat(const std::string& path) {
  struct stat st{};
  if (::stat(path.c_str(), &st) != 0) return FailErrno(errno, fmt::format("stat '{}'", path));
  return st;
}

bool Exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

Result<> MakeDirs(const std::string& path, mode_t mode) {
  for (std::size_t end = 1; end != std::string::npos;) {
    end = path.find('/', end + 1);
    const std::string prefix = path.substr(0, end);
    if (::mkdir(prefix.c_str(), mode) != 0 && errno != EEXIST) {
      return FailErrno(errno, fmt::format("create directory '{}'", prefix));
    }
  }
  const auto st = TRY(Stat(path));
  if (!S_ISDIR(st.st_mode)) return FailErrno(ENOTDIR, fmt::format("create directory '{}'", path));
  return {};
}

Result<> RemoveFile(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return FailErrno(errno, fmt::format("remove '{}'", path));
  }
  return {};
}

namespace {

Result<> RemoveAt(FdRef parent, const std::string& name, const std::string& path, dev_t device) {
  if (::unlinkat(parent.get(), name.c_str(), 0) == 0 || errno == ENOENT) return {};
  if (errno != EISDIR && errno != EPERM) return FailErrno(errno, fmt::format("remove '{}'", path));
  {
    UniqueFd dir = TRY(OpenAt(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    struct stat st{};
    if (::fstat(dir.get(), &st) != 0) return FailErrno(errno, fmt::format("stat '{}'", path));
    if (st.st_dev != device) {
      return FailErrno(EBUSY, fmt::format("remove '{}': a file system is mounted there", path));
    }
    const std::unique_ptr<DIR, int (*)(DIR*)> entries(::fdopendir(::dup(dir.get())), ::closedir);
    if (!entries) return FailErrno(errno, fmt::format("read directory '{}'", path));
    while (const dirent* entry = ::readdir(entries.get())) {
      const std::string child = entry->d_name;
      if (child == "." || child == "..") continue;
      TRY(RemoveAt(dir, child, path + "/" + child, device));
    }
  }
  if (::unlinkat(parent.get(), name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
    return FailErrno(errno, fmt::format("remove directory '{}'", path));
  }
  return {};
}

}  // namespace

Result<> RemoveTree(const std::string& path) {
  struct stat st{};
  if (::lstat(path.c_str(), &st) != 0) {
    if (errno == ENOENT) return {};
    return FailErrno(errno, fmt::format("stat '{}'", path));
  }
  return RemoveAt(FdRef::Borrow(AT_FDCWD), path, path, st.st_dev);
}

}  // namespace tinderbox::sys
