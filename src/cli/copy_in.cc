// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <map>
#include <memory>

#include "cli/copy_tree.h"
#include "sys/file.h"

namespace tinderbox::cli {
namespace {

using base::Code;

// What the agent gives a file that it makes.
constexpr unsigned kPlainMode = 0644;

class CopierIn {
 public:
  CopierIn(GuestFiles& guest, CopyReport& report) : guest_(guest), report_(report) {}

  base::Result<> File(const std::string& from, const std::string& to) {
    const sys::UniqueFd fd = TRY(sys::Open(from, O_RDONLY));
    struct stat status{};
    if (::fstat(fd.get(), &status) != 0) return base::FailErrno(errno, "stat " + from);
    auto entries = guest_.Upload(fd, to);
    if (!entries) {
      return std::unexpected(std::move(entries).error().WithContext(
          fmt::format("copy '{}' to '{}' in the sandbox", from, to)));
    }
    if (boost::json::array* list = entries->if_array()) {
      for (boost::json::value& each : *list) report_.files.push_back(std::move(each));
    }
    if (const unsigned mode = status.st_mode & 0777U; mode != kPlainMode)
      modes_[mode].push_back(to);
    return {};
  }

  base::Result<> Directory(const std::string& from, const std::string& to) {
    TRY_CTX(guest_.MakeDir(to), fmt::format("copy '{}'", from));
    const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(from.c_str()), &::closedir);
    if (!dir) return base::FailErrno(errno, fmt::format("open directory '{}'", from));
    std::vector<std::string> names;
    while (const dirent* each = ::readdir(dir.get())) {
      if (IsPlainName(each->d_name)) names.emplace_back(each->d_name);
    }
    std::ranges::sort(names);
    for (const std::string& name : names) TRY(Entry(JoinPath(from, name), JoinPath(to, name)));
    return {};
  }

  base::Result<> Finish() {
    for (const auto& [mode, paths] : modes_) TRY(guest_.SetMode(mode, paths));
    return {};
  }

 private:
  base::Result<> Entry(const std::string& from, const std::string& to) {
    struct stat own{};
    struct stat target{};
    if (::lstat(from.c_str(), &own) != 0) return base::FailErrno(errno, "stat " + from);
    if (::stat(from.c_str(), &target) != 0) {
      report_.skipped.push_back(from + ": a link to nothing");
    } else if (S_ISREG(target.st_mode)) {
      return File(from, to);
    } else if (S_ISDIR(own.st_mode)) {
      return Directory(from, to);
    } else if (S_ISLNK(own.st_mode)) {
      report_.skipped.push_back(from + ": a link to a directory");
    } else {
      report_.skipped.push_back(from + ": neither file nor directory");
    }
    return {};
  }

  GuestFiles& guest_;
  CopyReport& report_;
  std::map<unsigned, std::vector<std::string>> modes_;
};

}  // namespace

base::Result<> CopyIn(GuestFiles& guest, const std::string& from, const std::string& to,
                      CopyReport& report) {
  const struct stat source = TRY(sys::Stat(from));
  std::string target = to;
  const auto there = TRY(guest.Stat(to.empty() ? "." : to));
  const bool into = there && there->type == GuestEntry::Type::kDirectory;
  if (into || (to.ends_with('/') && !S_ISDIR(source.st_mode))) {
    // "dir/." and "." mean what is in the directory, as for cp.
    target = JoinPath(to, BaseName(from));
    if (BaseName(from).empty()) target = to;
  }
  CopierIn copier(guest, report);
  if (S_ISDIR(source.st_mode)) {
    if (there && !into) {
      return base::Fail(
          Code::kInvalidArgument,
          fmt::format("copy directory '{}': '{}' is a file in the sandbox", from, to));
    }
    TRY(copier.Directory(from, target));
  } else {
    TRY(copier.File(from, target));
  }
  return copier.Finish();
}

}  // namespace tinderbox::cli
