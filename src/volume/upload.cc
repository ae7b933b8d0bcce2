// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "volume/upload.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/id.h"
#include "sys/file.h"

namespace tinderbox::volume {

using base::FailErrno;
using base::Result;

namespace {

constexpr std::uint32_t kFileMode = 0644;

}  // namespace

Result<std::unique_ptr<Upload>> Upload::Begin(sys::FdRef incoming, Place place) {
  std::string temporary = base::RandomHex(16);
  sys::UniqueFd file =
      TRY_CTX(sys::OpenAt(incoming, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600),
              fmt::format("write '{}'", place.path));
  return std::unique_ptr<Upload>(
      new Upload(incoming, std::move(place), std::move(temporary), std::move(file)));
}

Upload::~Upload() {
  if (temporary_.empty()) return;
  ::unlinkat(incoming_.get(), temporary_.c_str(), 0);
  if (place_.usage) place_.usage->Add(-counted_);
}

Result<> Upload::Write(std::string_view data) {
  if (place_.usage) {
    if (!place_.usage->Fits(data.size())) return OverLimit(*place_.usage);
    place_.usage->Add(static_cast<std::int64_t>(data.size()));
    counted_ += static_cast<std::int64_t>(data.size());
  }
  TRY_CTX(sys::WriteAll(file_, data), fmt::format("write '{}'", place_.path));
  return {};
}

Result<> Upload::Commit() {
  struct stat around{};
  if (::fstat(place_.directory.get(), &around) != 0) {
    return FailErrno(errno, fmt::format("stat the directory of '{}'", place_.path));
  }
  uid_t uid = around.st_uid;
  gid_t gid = around.st_gid;
  mode_t mode = kFileMode;
  struct stat there{};
  const bool replaces =
      ::fstatat(place_.directory.get(), place_.name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0;
  if (replaces && S_ISREG(there.st_mode)) {
    uid = there.st_uid;
    gid = there.st_gid;
    mode = there.st_mode & 0777;
  }
  uid = place_.attributes.uid.value_or(uid);
  gid = place_.attributes.gid.value_or(gid);
  mode = place_.attributes.mode.value_or(mode);
  // The mode last: a change of the owner takes bits away.
  if (::fchown(file_.get(), uid, gid) != 0 || ::fchmod(file_.get(), mode) != 0) {
    return FailErrno(errno, fmt::format("set owner and mode of '{}'", place_.path));
  }
  if (::fdatasync(file_.get()) != 0) return FailErrno(errno, fmt::format("sync '{}'", place_.path));
  if (::renameat(incoming_.get(), temporary_.c_str(), place_.directory.get(),
                 place_.name.c_str()) != 0) {
    if (errno == EISDIR) {
      return base::Fail(base::Code::kInvalidArgument,
                        fmt::format("write '{}': it is a directory", place_.path));
    }
    return FailErrno(errno, fmt::format("put '{}' in its place", place_.path));
  }
  temporary_.clear();
  if (replaces && place_.usage) place_.usage->MarkStale();
  return {};
}

}  // namespace tinderbox::volume
