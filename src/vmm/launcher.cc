// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/launcher.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "sys/cgroup.h"
#include "sys/file.h"
#include "sys/pidfd.h"
#include "vmm/launch_record.h"
#include "vmm/launch_sequence.h"
#include "vmm/launched_vm.h"
#include "warden/protocol.h"

namespace tinderbox::vmm {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

std::vector<std::string> LaunchStepNames() {
  return {std::begin(warden::kStepNames), std::end(warden::kStepNames)};
}

Result<Launched> Launch(const LaunchSpec& spec, base::Deadline deadline,
                        const LaunchOptions& options) {
  return LaunchSequence(spec, deadline, options).Run();
}

Result<> Remove(const std::string& run_dir) {
  const auto dir = TRY(sys::OpenIfExists(run_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (!dir) return {};
  const auto lives = [&] {
    return Fail(Code::kFailedPrecondition, fmt::format("remove '{}': its VM lives", run_dir));
  };
  // Held by a launch under way and by every living warden; see LaunchSequence::MakeRunDir.
  if (::flock(dir->get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return lives();
    return FailErrno(errno, fmt::format("lock '{}'", run_dir));
  }
  const auto record = ReadRecord(run_dir);
  if (record) {
    if (const auto warden = TRY(FindWarden(*record))) {
      // A warden that is still dying has let go of the lock already.
      if (!TRY(sys::WaitPidFd(*warden, base::Deadline::After(std::chrono::seconds(1))))) {
        return lives();
      }
      sys::ReapPidFd(*warden);
    }
    if (!record->cgroup.empty()) {
      TRY(sys::RemoveCgroup(sys::HostCgroups(), record->cgroup,
                            base::Deadline::After(std::chrono::seconds(2))));
    }
  } else if (record.error().code() == Code::kNotFound) {
    // Any directory but one that a launch killed before its record has left is not ours to delete.
    if (!HoldsNoVm(*dir)) {
      return FailErrno(ENOTEMPTY, fmt::format("remove '{}', which holds no VM", run_dir));
    }
  } else if (record.error().code() != Code::kDataLoss) {
    return std::unexpected(record.error());
  }
  return sys::RemoveTree(run_dir);
}

}  // namespace tinderbox::vmm
