// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/reflink.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

#include <cerrno>

#include "sys/file.h"

namespace tinderbox::sys {

using base::FailErrno;
using base::Result;

Result<> CloneFile(FdRef from, FdRef to) {
  if (::ioctl(to.get(), FICLONE, from.get()) == 0) return {};
  // The kernel says EOPNOTSUPP, ENOTTY, EINVAL or EXDEV, as the file system pleases.
  const int err = errno == ENOTTY || errno == EINVAL || errno == EXDEV ? EOPNOTSUPP : errno;
  return FailErrno(err, "reflink a file");
}

Result<bool> HasReflinks(const std::string& dir) {
  const auto make = [&] { return Open(dir, O_TMPFILE | O_RDWR, 0600); };
  auto from_file = make();
  // A file system without O_TMPFILE (EOPNOTSUPP, or EISDIR of old kernels) has no reflinks either.
  if (!from_file && (from_file.error().errno_value() == EOPNOTSUPP ||
                     from_file.error().errno_value() == EISDIR)) {
    return false;
  }
  const UniqueFd from = TRY(std::move(from_file));
  const UniqueFd to = TRY(make());
  TRY_CTX(WriteAll(from, std::string(4096, 'x')), fmt::format("probe '{}' for reflinks", dir));
  const auto cloned = CloneFile(from, to);
  if (cloned) return true;
  if (cloned.error().code() == base::Code::kUnimplemented) return false;
  return std::unexpected(cloned.error());
}

}  // namespace tinderbox::sys
