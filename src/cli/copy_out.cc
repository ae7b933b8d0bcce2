// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <boost/json.hpp>
#include <cerrno>

#include "cli/copy_tree.h"
#include "sys/file.h"

namespace tinderbox::cli {
namespace {

using base::Code;
using Type = GuestEntry::Type;

// How deep a tree may be: a guest must not lead us down for ever.
constexpr int kMaxDepth = 256;

class CopierOut {
 public:
  CopierOut(GuestFiles& guest, CopyReport& report) : guest_(guest), report_(report) {}

  // `name` in `directory`, which is ours; `shown` is its path for people. A link that stands there
  // is followed only where the user named it.
  base::Result<> File(sys::FdRef directory, const GuestEntry& from, const std::string& name,
                      const std::string& shown, bool named) {
    const int nofollow = named ? 0 : O_NOFOLLOW;
    const sys::UniqueFd fd = TRY(sys::OpenAt(
        directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | nofollow, from.mode));
    const std::uint64_t size =
        TRY_CTX(guest_.Download(from.path, fd), fmt::format("copy '{}' out", from.path));
    struct stat status{};
    // The umask may have taken what an existing file's mode keeps; devices are left alone.
    if (::fstat(fd.get(), &status) == 0 && S_ISREG(status.st_mode)) ::fchmod(fd.get(), from.mode);
    report_.files.push_back(boost::json::object{{"path", shown}, {"size", size}});
    return {};
  }

  base::Result<> Directory(sys::FdRef parent, const GuestEntry& from, const std::string& name,
                           const std::string& shown, int depth) {
    if (depth > kMaxDepth) {
      return base::Fail(Code::kResourceExhausted,
                        fmt::format("copy '{}' out: more than {} levels deep", shown, kMaxDepth));
    }
    if (::mkdirat(parent.get(), name.c_str(), 0777) != 0 && errno != EEXIST) {
      return base::FailErrno(errno, fmt::format("make directory '{}'", shown));
    }
    const int nofollow = depth == 0 ? 0 : O_NOFOLLOW;
    const sys::UniqueFd here = TRY(sys::OpenAt(parent, name, O_RDONLY | O_DIRECTORY | nofollow));
    const auto entries = TRY_CTX(guest_.List(from.path), fmt::format("copy '{}' out", from.path));
    for (const GuestEntry& entry : entries) {
      GuestEntry each = entry;
      // The agent's own idea of the path does not count: it is where we asked.
      each.path = JoinPath(from.path, entry.name);
      const std::string path = JoinPath(shown, entry.name);
      if (each.type == Type::kFile) {
        TRY(File(here, each, entry.name, path, false));
      } else if (each.type == Type::kDirectory && !each.is_link) {
        TRY(Directory(here, each, entry.name, path, depth + 1));
      } else {
        report_.skipped.push_back(each.path + (each.is_link
                                                   ? ": a link to a directory, or to nothing"
                                                   : ": neither file nor directory"));
      }
    }
    return {};
  }

 private:
  GuestFiles& guest_;
  CopyReport& report_;
};

}  // namespace

base::Result<> CopyOut(GuestFiles& guest, const std::string& from, const std::string& to,
                       CopyReport& report) {
  auto found = TRY(guest.Stat(from.empty() ? "." : from));
  if (!found) {
    return base::Fail(Code::kNotFound, fmt::format("'{}' does not exist in the sandbox", from));
  }
  found->path = from.empty() ? "." : from;
  struct stat status{};
  const bool exists = ::stat(to.c_str(), &status) == 0;
  std::string target = to;
  if ((exists && S_ISDIR(status.st_mode)) ||
      (to.ends_with('/') && found->type != Type::kDirectory)) {
    target = JoinPath(to, BaseName(from));
    if (BaseName(from).empty()) target = to;
  }
  const sys::UniqueFd here = TRY(sys::Open(".", O_PATH | O_DIRECTORY));
  CopierOut copier(guest, report);
  if (found->type == Type::kDirectory) {
    if (exists && !S_ISDIR(status.st_mode)) {
      return base::Fail(Code::kInvalidArgument,
                        fmt::format("copy directory '{}' out: '{}' is a file", from, to));
    }
    return copier.Directory(here, *found, target, target, 0);
  }
  return copier.File(here, *found, target, target, true);
}

}  // namespace tinderbox::cli
