// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/lost.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "base/id.h"
#include "base/log.h"
#include "sandbox/manager.h"
#include "sandbox/state.h"
#include "sys/file.h"
#include "sys/pidfd.h"

namespace tinderbox::sandbox {

using base::Code;
using base::Deadline;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::size_t kMaxRecord = 16 << 20;
constexpr std::chrono::seconds kKillTime{10};

std::string DirOf(const image::Library& library, std::string_view id) {
  return fmt::format("{}/sandboxes/{}", library.pool_dir(), id);
}

Result<> Write(store::Store& store, const std::string& dir, const std::string& id, bool durable) {
  const std::string json = TRY(store.ExportSandbox(id));
  const std::string path = dir + "/sandbox.json";
  if (durable) return sys::WriteFileAtomic(path, json, 0600);
  // A fsync would cost more than the rest of a start; a running sandbox does not survive a crash of
  // the host anyway.
  const std::string pending = path + ".new";
  {
    TRY(sys::RemoveFile(pending));
    const auto file = TRY(sys::Open(pending, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    TRY(sys::WriteAll(file, json));
  }
  if (::rename(pending.c_str(), path.c_str()) != 0) {
    return FailErrno(errno, fmt::format("rename '{}'", pending));
  }
  return {};
}

// The state that the sandbox is in by what there is of it.
void PutState(store::SandboxRecord& record, image::Library& library) {
  const auto saved = library.FindPaused(record.id);
  const bool paused = record.state == StateName(State::kPaused);
  if (saved && (paused || !VmLives(record.run_dir))) {
    record.state = StateName(State::kPaused);
    record.pause_mode = PauseModeName(saved->vm ? PauseMode::kFull : PauseMode::kFilesystem);
  } else {
    record.state = StateName(State::kRunning);
    record.pause_mode.clear();
  }
}

}  // namespace

void KeepRecordBeside(store::Store& store, const image::Library& library, const std::string& id,
                      bool durable) {
  const std::string dir = DirOf(library, id);
  if (!sys::Exists(dir)) return;
  if (auto written = Write(store, dir, id, durable); !written) {
    base::LogWarning("cannot keep a sandbox's record beside its data",
                     {{"sandbox", id}, {"error", written.error().ToString()}});
  }
}

Result<store::SandboxRecord> RecordBeside(store::Store& store, const image::Library& library,
                                          const std::string& id) {
  const std::string path = DirOf(library, id) + "/sandbox.json";
  const std::string json = TRY(sys::ReadFile(path, kMaxRecord));
  store::SandboxRecord record = TRY_CTX(store.ParseSandbox(json), path);
  if (record.id != id || !base::IsValidVmId(id)) {
    return Fail(Code::kDataLoss, fmt::format("'{}' is of sandbox '{}'", path, record.id));
  }
  return record;
}

Result<> MarkEphemeral(const image::Library& library, const std::string& id) {
  const std::string dir = DirOf(library, id);
  TRY(sys::MakeDirs(dir, 0700));
  TRY(sys::Open(dir + "/ephemeral", O_WRONLY | O_CREAT | O_NOFOLLOW, 0600));
  return {};
}

Result<> UnmarkEphemeral(const image::Library& library, const std::string& id) {
  return sys::RemoveFile(DirOf(library, id) + "/ephemeral");
}

bool IsEphemeral(const image::Library& library, const std::string& id) {
  return sys::Exists(DirOf(library, id) + "/ephemeral");
}

Result<std::optional<image::LostEntry>> LoseDisk(const image::Library& library,
                                                 const store::SandboxRecord& record,
                                                 std::string_view why) {
  const auto name = record.metadata.find("name");
  return image::LostFound(library.pool_dir())
      .Keep({.kind = "sandbox",
             .id = record.id,
             .label = name == record.metadata.end() ? "" : name->second,
             .why = std::string(why)},
            DirOf(library, record.id));
}

bool VmLives(const std::string& run_dir) {
  if (run_dir.empty()) return false;
  const auto vm = vmm::Adopt(run_dir);
  return vm && !(*vm)->Wait(Deadline::After(std::chrono::seconds(0)));
}

void PutProcess(store::SandboxRecord& record, const vmm::LaunchedVm& vm) {
  record.warden_pid = vm.warden_pid();
  record.warden_start =
      static_cast<std::int64_t>(sys::ProcessStartTime(vm.warden_pid()).value_or(0));
  record.boot_id = sys::BootId().value_or("");
}

Result<> EndStray(const store::SandboxRecord& record) {
  if (record.warden_pid <= 1 || record.boot_id != TRY(sys::BootId())) return {};
  const pid_t pid = static_cast<pid_t>(record.warden_pid);
  const auto pidfd = sys::OpenPidFd(pid);
  if (!pidfd && pidfd.error().code() == Code::kNotFound) return {};
  if (!pidfd) return std::unexpected(pidfd.error());
  // Read after the pidfd was opened: if it is the warden's, so is the pidfd.
  const auto start = sys::ProcessStartTime(pid);
  if (!start || static_cast<std::int64_t>(*start) != record.warden_start) return {};
  base::LogWarning("killing a VM whose run directory is gone",
                   {{"sandbox", record.id}, {"pid", record.warden_pid}});
  // Process 1 of the VM's pid namespace: the kernel kills everything else in it first.
  static_cast<void>(sys::SignalPidFd(*pidfd, SIGKILL));
  if (TRY(sys::WaitPidFd(*pidfd, Deadline::After(kKillTime)))) {
    sys::ReapPidFd(*pidfd);
    return {};
  }
  return Fail(Code::kDeadlineExceeded,
              fmt::format("end the VM of sandbox '{}': process {} still lives", record.id, pid));
}

Result<std::vector<std::string>> AdoptRecords(store::Store& store, image::Library& library) {
  std::vector<std::string> taken;
  for (const std::string& id : TRY(library.SandboxDirs())) {
    if (IsEphemeral(library, id)) continue;
    auto beside = RecordBeside(store, library, id);
    if (!beside) {
      base::LogWarning("cannot take up a sandbox by the record beside it",
                       {{"sandbox", id}, {"error", beside.error().ToString()}});
      continue;
    }
    PutState(*beside, library);
    if (const auto known = store.GetSandbox(id)) {
      TRY(store.UpdateSandbox(*beside, known->state));
    } else {
      TRY(store.InsertSandbox(*beside));
    }
    taken.push_back(id);
  }
  for (const store::SandboxRecord& record : TRY(store.ListSandboxes())) {
    const bool ended = record.state == StateName(State::kDead);
    if (ended || sys::Exists(DirOf(library, record.id)) || VmLives(record.run_dir)) continue;
    base::LogWarning("dropping the record of a sandbox that is gone", {{"sandbox", record.id}});
    TRY(store.DeleteSandbox(record.id));
  }
  return taken;
}

}  // namespace tinderbox::sandbox
