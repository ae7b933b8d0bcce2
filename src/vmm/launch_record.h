// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/error.h"
#include "sys/fd.h"
#include "vmm/launcher.h"

// What a run directory says about its VM: vm.json by the launcher, exit.json by the warden. Neither
// is fsynced: after a crash of the host there is no VM that they could describe.
namespace tinderbox::vmm {

inline constexpr char kRecordFile[] = "vm.json";
inline constexpr char kApiLink[] = "api.sock";  // for people: a link into the jail

struct VmRecord {
  std::string id;
  std::string boot_id;
  std::string cgroup;  // name, or empty
  std::string vmm;     // host path of the binary
  uid_t uid = 0;
  gid_t gid = 0;
  pid_t warden_pid = 0;            // 0 while the launch is under way
  std::uint64_t warden_start = 0;  // see sys::ProcessStartTime
  pid_t vmm_pid = 0;
  std::chrono::milliseconds stop_grace{0};

  bool operator==(const VmRecord&) const = default;
};

std::string ToJson(const VmRecord& record);
base::Result<VmRecord> ParseVmRecord(const std::string& json);

std::string ToJson(const ExitStatus& status);
base::Result<ExitStatus> ParseExitStatus(const std::string& json);

// Replaces the record as a whole.
base::Result<> WriteRecord(sys::FdRef run_dir, const VmRecord& record);
// Whether a directory without a record is one that a launch killed at its very beginning has left:
// empty, or with a record in it whose writing was not finished.
bool HoldsNoVm(sys::FdRef run_dir);
// kNotFound where there is none.
base::Result<VmRecord> ReadRecord(const std::string& run_dir);

// Makes exit.json, blank; yields it for reading and writing.
base::Result<sys::UniqueFd> MakeExitFile(sys::FdRef run_dir);
// The status kept in `exit_file`, or none where it is still blank.
base::Result<std::optional<ExitStatus>> ReadExitStatus(sys::FdRef exit_file);
base::Result<> WriteExitStatus(sys::FdRef exit_file, const ExitStatus& status);

}  // namespace tinderbox::vmm
