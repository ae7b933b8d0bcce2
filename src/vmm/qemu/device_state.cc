// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/qemu/device_state.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "sys/file.h"
#include "vmm/qemu/state_file.h"

namespace tinderbox::vmm::qemu {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::chrono::microseconds kLookAgain{500};

Result<sys::UniqueFd> NewMemoryFile() {
  sys::UniqueFd file(::memfd_create("vm-state", MFD_CLOEXEC));
  if (!file) return FailErrno(errno, "create a file in memory");
  return file;
}

}  // namespace

Result<std::string> SaveDeviceState(Qmp& qmp, base::Deadline deadline) {
  const sys::UniqueFd file = TRY(NewMemoryFile());
  // QEMU finds a descriptor of a set by its access mode, which must be the one it opens with.
  const sys::UniqueFd writable =
      TRY(sys::Open(fmt::format("/proc/self/fd/{}", file.get()), O_WRONLY));
  TRY(qmp.RunWith("add-fd", R"({"fdset-id":1})", &writable, deadline));
  // Not "live", which would give up the disks. Despite its name the command is in every build.
  auto saved = qmp.RunWith("xen-save-devices-state", R"({"filename":"/dev/fdset/1","live":false})",
                           nullptr, deadline);
  TRY(qmp.RunWith("remove-fd", R"({"fdset-id":1})", nullptr, deadline));
  TRY(saved);
  if (::lseek(file.get(), 0, SEEK_SET) != 0) return FailErrno(errno, "rewind a file in memory");
  std::string state = TRY_CTX(sys::ReadAll(file, kMaxState), "read QEMU's device state");
  if (state.empty()) return Fail(Code::kDataLoss, "QEMU saved no device state");
  return state;
}

Result<> LoadDeviceState(Qmp& qmp, std::string_view state, base::Deadline deadline) {
  const sys::UniqueFd file = TRY(NewMemoryFile());
  TRY(sys::WriteAll(file, state));
  if (::lseek(file.get(), 0, SEEK_SET) != 0) return FailErrno(errno, "rewind a file in memory");
  TRY(qmp.RunWith("getfd", R"({"fdname":"state"})", &file, deadline));
  TRY(qmp.RunWith("migrate-incoming", R"({"uri":"fd:state"})", nullptr, deadline));
  // It goes on after the answer.
  while (TRY(qmp.State(deadline)) == VmState::kNotStarted) {
    if (deadline.passed()) return Fail(Code::kDeadlineExceeded, "load QEMU's device state");
    std::this_thread::sleep_for(kLookAgain);
  }
  return {};
}

Result<std::string> ReadStateFile(const std::string& path) {
  const std::string file = TRY(sys::ReadFile(path, kMaxState + 4096));
  return TRY_CTX(UnwrapState(file), fmt::format("read '{}'", path));
}

}  // namespace tinderbox::vmm::qemu
