// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <map>
#include <string>
#include <string_view>

#include "agent/users.h"
#include "base/error.h"

namespace tinderbox::agent {

// What EntryInfo.type says of an entry.
enum class FileType { kUnspecified, kFile, kDirectory, kSymlink };

struct Entry {
  std::string path;
  FileType type =
      FileType::kUnspecified;  // of a link: its target's, unspecified where that is broken
  bool is_symlink = false;
  std::string symlink_target;  // fully resolved; of links only
  std::int64_t size = 0;
  unsigned mode = 0;  // permission bits; of a link: its target's
  std::string permissions;
  uid_t uid = 0;
  gid_t gid = 0;
  std::int64_t modified_sec = 0;
  long modified_nsec = 0;
  std::map<std::string, std::string> metadata;  // xattrs user.e2b.*
};

// Looks at `path` itself. kNotFound where it does not exist.
base::Result<Entry> ReadEntry(const std::string& path);

// EntryInfo as JSON.
boost::json::object EntryJson(const Entry& entry, const NameTable& names);

// "-rw-r--r--", "drwxr-xr-x"; links begin with 'L'.
std::string PermissionText(unsigned st_mode);

// The xattrs user.e2b.* of a file, without that prefix; none where the file system has no xattrs.
std::map<std::string, std::string> ReadMetadata(const std::string& path);
// Replaces all of them.
base::Result<> WriteMetadata(int fd, const std::map<std::string, std::string>& metadata);

}  // namespace tinderbox::agent
