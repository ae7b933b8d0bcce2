// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "cli/agent.h"
#include "sys/fd.h"

namespace tinderbox::cli {

// What the agent tells of one file. It comes from the guest: names are checked before use.
struct GuestEntry {
  enum class Type { kFile, kDirectory, kOther };
  std::string name;
  std::string path;
  Type type = Type::kOther;
  bool is_link = false;  // `type` is then the target's
  unsigned mode = 0644;  // permission bits
};

// The files of one sandbox, through its agent. Paths are absolute, or relative to the user's home.
class GuestFiles {
 public:
  explicit GuestFiles(Agent agent) : agent_(std::move(agent)) {}

  // No value where nothing is there.
  base::Result<std::optional<GuestEntry>> Stat(const std::string& path);
  // What is in a directory, one level. An entry whose name is no plain name is kDataLoss.
  base::Result<std::vector<GuestEntry>> List(const std::string& path);
  // With its parents; one that exists is left as it is.
  base::Result<> MakeDir(const std::string& path);

  // Sends everything that `from` yields; parents are made. Yields the agent's account of the file.
  base::Result<boost::json::value> Upload(sys::FdRef from, const std::string& path);
  // Receives a file into `to`; yields its size. kNotFound names the path.
  base::Result<std::uint64_t> Download(const std::string& path, sys::FdRef to);

  // chmod(1) in the guest, as few calls as may be. All `paths` get the same `mode`.
  base::Result<> SetMode(unsigned mode, const std::vector<std::string>& paths);

 private:
  base::Result<net::HttpClient*> Client();
  std::string Target(const std::string& path) const;

  Agent agent_;
  std::optional<net::HttpClient> client_;  // for /files
};

// True for what may name one entry of a directory: not empty, not "." or "..", no '/' and no NUL.
bool IsPlainName(std::string_view name);

// `directory`/`name` with one slash between; "" as directory is the user's home.
std::string JoinPath(std::string_view directory, std::string_view name);
// The last part of a path; "" for "/", "." and "..".
std::string_view BaseName(std::string_view path);

}  // namespace tinderbox::cli
