// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/entry_info.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <ctime>
#include <memory>

#include "agent/paths.h"

namespace tinderbox::agent {
namespace {

constexpr std::string_view kPrefix = "user.e2b.";
constexpr std::size_t kMaxList = 64 << 10;  // the kernel's own bound

FileType TypeOf(mode_t mode) {
  if (S_ISREG(mode)) return FileType::kFile;
  if (S_ISDIR(mode)) return FileType::kDirectory;
  return FileType::kUnspecified;
}

std::string Resolve(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr),
                                                         &std::free);
  return real ? std::string(real.get()) : std::string();
}

// The names in a list of NUL-terminated xattr names that are ours.
std::vector<std::string> OurNames(std::string_view list) {
  std::vector<std::string> names;
  while (!list.empty()) {
    const auto end = std::min(list.find('\0'), list.size());
    if (list.substr(0, end).starts_with(kPrefix)) names.emplace_back(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return names;
}

std::string Rfc3339(std::int64_t sec, long nsec) {
  const std::time_t time = sec;
  std::tm utc{};
  ::gmtime_r(&time, &utc);
  std::string text = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", utc.tm_year + 1900,
                                 utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec);
  if (nsec != 0) text += fmt::format(".{:09}", nsec);
  return text + "Z";
}

std::string_view TypeName(FileType type) {
  switch (type) {
    case FileType::kFile: return "FILE_TYPE_FILE";
    case FileType::kDirectory: return "FILE_TYPE_DIRECTORY";
    case FileType::kSymlink: return "FILE_TYPE_SYMLINK";
    case FileType::kUnspecified: break;
  }
  return "FILE_TYPE_UNSPECIFIED";
}

}  // namespace

std::string PermissionText(unsigned st_mode) {
  std::string text = "-";
  if (S_ISDIR(st_mode)) text = "d";
  if (S_ISLNK(st_mode)) text = "L";
  if (S_ISCHR(st_mode)) text = "Dc";
  if (S_ISBLK(st_mode)) text = "D";
  if (S_ISFIFO(st_mode)) text = "p";
  if (S_ISSOCK(st_mode)) text = "S";
  constexpr std::string_view kLetters = "rwxrwxrwx";
  for (unsigned bit = 0; bit < 9; ++bit) {
    text += (st_mode & (0400U >> bit)) != 0 ? kLetters[bit] : '-';
  }
  return text;
}

std::map<std::string, std::string> ReadMetadata(const std::string& path) {
  std::map<std::string, std::string> metadata;
  std::string list(kMaxList, '\0');
  const ssize_t size = ::llistxattr(path.c_str(), list.data(), list.size());
  if (size <= 0) return metadata;
  std::string value(kMaxList, '\0');
  for (const std::string& name :
       OurNames(std::string_view(list).substr(0, static_cast<std::size_t>(size)))) {
    const ssize_t length = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    if (length < 0) continue;
    metadata[name.substr(kPrefix.size())] = value.substr(0, static_cast<std::size_t>(length));
  }
  return metadata;
}

base::Result<> WriteMetadata(int fd, const std::map<std::string, std::string>& metadata) {
  std::string list(kMaxList, '\0');
  const ssize_t size = ::flistxattr(fd, list.data(), list.size());
  if (size > 0) {
    for (const std::string& name :
         OurNames(std::string_view(list).substr(0, static_cast<std::size_t>(size)))) {
      if (!metadata.contains(name.substr(kPrefix.size()))) ::fremovexattr(fd, name.c_str());
    }
  }
  for (const auto& [key, value] : metadata) {
    const std::string name = std::string(kPrefix) + key;
    if (::fsetxattr(fd, name.c_str(), value.data(), value.size(), 0) != 0) {
      return base::FailErrno(errno, fmt::format("set metadata '{}'", key));
    }
  }
  return {};
}

base::Result<Entry> ReadEntry(const std::string& path) {
  struct stat own{};
  if (::lstat(path.c_str(), &own) != 0) {
    const int err = errno == ENOTDIR ? ENOENT : errno;
    return base::FailErrno(err, fmt::format("file not found: '{}'", path));
  }
  Entry entry;
  entry.path = path;
  entry.type = TypeOf(own.st_mode);
  entry.mode = own.st_mode & 0777;
  entry.permissions = PermissionText(own.st_mode);
  entry.size = own.st_size;
  entry.uid = own.st_uid;
  entry.gid = own.st_gid;
  entry.modified_sec = own.st_mtim.tv_sec;
  entry.modified_nsec = own.st_mtim.tv_nsec;
  if (S_ISLNK(own.st_mode)) {
    entry.is_symlink = true;
    entry.symlink_target = Resolve(path);
    struct stat target{};
    if (::stat(path.c_str(), &target) == 0) {
      entry.type = TypeOf(target.st_mode);
      entry.mode = target.st_mode & 0777;
    } else {
      entry.type = FileType::kUnspecified;
    }
  }
  entry.metadata = ReadMetadata(path);
  return entry;
}

boost::json::object EntryJson(const Entry& entry, const NameTable& names) {
  boost::json::object json;
  json["name"] = BaseName(entry.path);
  if (entry.type != FileType::kUnspecified) json["type"] = TypeName(entry.type);
  json["path"] = entry.path;
  // int64 is a string in protobuf's JSON.
  if (entry.size != 0) json["size"] = std::to_string(entry.size);
  if (entry.mode != 0) json["mode"] = entry.mode;
  json["permissions"] = entry.permissions;
  json["owner"] = names.UserName(entry.uid);
  json["group"] = names.GroupName(entry.gid);
  json["modifiedTime"] = Rfc3339(entry.modified_sec, entry.modified_nsec);
  if (!entry.symlink_target.empty()) json["symlinkTarget"] = entry.symlink_target;
  if (!entry.metadata.empty()) {
    boost::json::object metadata;
    for (const auto& [key, value] : entry.metadata) metadata[key] = value;
    json["metadata"] = std::move(metadata);
  }
  if (entry.is_symlink) json["isSymlink"] = true;
  return json;
}

}  // namespace tinderbox::agent
