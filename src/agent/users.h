// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

// Users and groups out of /etc/passwd and /etc/group, read anew each time. Parsed here because a
// static program cannot load the name service modules of whatever image it runs in.
namespace tinderbox::agent {

struct User {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  std::string home;
  std::string shell;
  std::vector<gid_t> groups;  // supplementary, `gid` included
};

// The user `name` in a passwd and group file's text; malformed lines are passed over.
std::optional<User> ParseUser(std::string_view passwd, std::string_view group,
                              std::string_view name);

// Reads /etc/passwd and /etc/group. root exists even where the file lacks it. An unknown name is
// kUnauthenticated "invalid username: 'x'".
base::Result<User> FindUser(std::string_view name);

// Names by number, read once at construction, for listings. A number without a name is shown as it
// is.
class NameTable {
 public:
  NameTable();
  NameTable(std::string passwd, std::string group);
  std::string UserName(uid_t uid) const;
  std::string GroupName(gid_t gid) const;

 private:
  std::string passwd_;
  std::string group_;
};

}  // namespace tinderbox::agent
