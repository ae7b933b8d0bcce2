// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// A lost sandbox is taken up again: as a paused one, whatever it was.
#include <fmt/format.h>

#include <memory>
#include <utility>

#include "base/log.h"
#include "sandbox/capture.h"
#include "sandbox/context.h"
#include "sandbox/lost.h"
#include "sandbox/manager_impl.h"

namespace tinderbox::sandbox {

using base::Code;
using base::Fail;
using base::Result;

Result<SandboxInfo> ManagerImpl::Adopt(const std::string& id, const Fetch& fetch) {
  const std::lock_guard one_at_a_time(adopt_mutex_);
  if (Find(id)) {
    const Locked locked = TRY(Lock(id));
    if (locked.sandbox->state() != State::kDead) {
      return Fail(Code::kAlreadyExists, fmt::format("adopt sandbox '{}': it exists", id));
    }
    // The record of its death gives way.
    TRY(options_.store.DeleteSandbox(id));
    Forget(id);
  }
  TRY(fetch(fmt::format("{}/sandboxes/{}", options_.library.pool_dir(), id)));
  auto taken = TakeUpLost(id);
  if (taken) return taken;
  store::SandboxRecord record;
  record.id = id;
  static_cast<void>(LoseDisk(options_.library, record, taken.error().ToString()));
  return std::unexpected(
      std::move(taken).error().WithContext(fmt::format("adopt sandbox '{}'", id)));
}

// Its data is in its place, and no record of it is known.
Result<SandboxInfo> ManagerImpl::TakeUpLost(const std::string& id) {
  store::SandboxRecord record = TRY(RecordBeside(options_.store, options_.library, id));
  auto saved = options_.library.FindPaused(id);
  if (!saved) {
    if (saved.error().code() != Code::kNotFound) return std::unexpected(std::move(saved).error());
    // It was running: its disk is what there is, as after a power cut.
    image::Capture capture = TRY(options_.library.BeginCapture());
    TRY(options_.library.CaptureDisk(capture, id));
    image::Template info = DescribeSaved(options_, record, PauseMode::kFilesystem);
    info.kind = image::SavedKind::kPaused;
    info.id = id;
    saved = TRY(options_.library.Commit(std::move(capture), std::move(info), false));
  }
  record.state = StateName(State::kPaused);
  record.pause_mode = PauseModeName(saved->vm ? PauseMode::kFull : PauseMode::kFilesystem);
  record.cause.clear();
  record.exit_code.reset();
  record.exit_detail.clear();
  record.end_at = NowMs();
  record.slot = record.uid = 0;
  record.network_pending = false;
  record.run_dir = RunDirOf(options_, id);
  record.warden_pid = record.warden_start = 0;
  record.boot_id.clear();
  TRY(options_.store.InsertSandbox(record));
  static_cast<void>(options_.library.RemoveVmFiles(id));
  KeepRecordBeside(options_.store, options_.library, id, true);
  const auto sandbox = std::make_shared<Sandbox>(record);
  {
    const std::lock_guard lock(mutex_);
    sandboxes_.emplace(id, sandbox);
  }
  SealInBackground(*saved);
  base::LogInfo("a lost sandbox was taken up", {{"sandbox", id}, {"mode", record.pause_mode}});
  return InfoOf(*sandbox);
}

}  // namespace tinderbox::sandbox
