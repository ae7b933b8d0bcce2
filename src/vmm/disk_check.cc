// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/disk_check.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>

#include "sys/directory.h"
#include "sys/file.h"
#include "sys/pidfd.h"
#include "vmm/starting_vm.h"

namespace tinderbox::vmm {

using base::Code;
using base::Error;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

bool SameFile(const struct stat& a, const struct stat& b) {
  return S_ISREG(a.st_mode) && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// A VMM that a guest has taken over may have changed what a number stands for: what counts is what
// was taken out of it.
Result<sys::UniqueFd> TakeDisk(LaunchedVm& vm, const std::string& path) {
  const struct stat disk = TRY(sys::Stat(path));
  const auto pidfd = TRY(sys::OpenPidFd(vm.vmm_pid()));
  // Until here it lived, so the pidfd is not of another process with its number.
  if (HasEnded(vm)) return Fail(Code::kNotFound, "the VMM has ended");
  const std::string dir = fmt::format("/proc/{}/fd", vm.vmm_pid());
  for (const std::string& name : TRY(sys::NamesIn(dir))) {
    struct stat st{};
    if (::stat(fmt::format("{}/{}", dir, name).c_str(), &st) != 0 || !SameFile(st, disk)) continue;
    auto taken = sys::TakeFd(pidfd, std::atoi(name.c_str()));
    if (!taken) continue;
    if (::fstat(taken->get(), &st) == 0 && SameFile(st, disk)) return taken;
  }
  return Fail(Code::kNotFound, fmt::format("the VMM does not have '{}' open", path));
}

}  // namespace

Result<> CheckDisk(LaunchedVm& vm, const std::string& path, DiskSync sync) {
  const auto disk = TRY(TakeDisk(vm, path));
  const int done = sync == DiskSync::kFlush
                       ? ::fdatasync(disk.get())
                       : ::sync_file_range(disk.get(), 0, 1, SYNC_FILE_RANGE_WAIT_BEFORE);
  if (done == 0) return {};
  const int error = errno;
  return std::unexpected(
      Error(Code::kDataLoss, fmt::format("the host lost writes of the disk '{}'", path))
          .WithErrno(error)
          .WithRemedy("Look for errors of the host's disk, and for a full file system."));
}

}  // namespace tinderbox::vmm
