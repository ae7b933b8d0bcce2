// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/sandbox.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "sandbox/egress.h"
#include "sandbox/timings.h"

namespace tinderbox::sandbox {

using base::Code;
using base::Fail;
using base::Result;

std::int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

std::string_view PauseModeName(PauseMode mode) {
  return mode == PauseMode::kFull ? "full" : "filesystem";
}

PauseMode PauseModeOf(std::string_view name) {
  return name == PauseModeName(PauseMode::kFilesystem) ? PauseMode::kFilesystem : PauseMode::kFull;
}

namespace {

PortAccess PortsOf(const store::SandboxRecord& record) {
  return {.traffic_token = record.traffic_token,
          .mask_host = record.mask_host,
          .https_ports = record.https_ports};
}

}  // namespace

Sandbox::Sandbox(store::SandboxRecord record) : id_(record.id), record_(std::move(record)) {}

State Sandbox::state() const {
  const std::lock_guard lock(view_);
  return ParseState(record_.state).value_or(State::kFailed);
}

store::SandboxRecord Sandbox::record() const {
  const std::lock_guard lock(view_);
  return record_;
}

std::shared_ptr<vmm::LaunchedVm> Sandbox::vm() const {
  const std::lock_guard lock(view_);
  return vm_;
}

void Sandbox::SetVm(std::shared_ptr<vmm::LaunchedVm> vm) {
  const std::lock_guard lock(view_);
  vm_ = std::move(vm);
}

Result<> Sandbox::Update(store::Store& store, store::SandboxRecord changed,
                         const std::optional<store::EventRecord>& event) {
  const std::string from = record().state;
  if (changed.state != from) {
    const auto to_state = ParseState(changed.state);
    if (!to_state || !MayFollow(state(), *to_state)) {
      return Fail(Code::kFailedPrecondition,
                  fmt::format("sandbox '{}' cannot go from {} to {}", id_, from, changed.state));
    }
  }
  TRY(store.UpdateSandbox(changed, from, event));
  const std::lock_guard lock(view_);
  record_ = std::move(changed);
  return {};
}

SandboxInfo Sandbox::Info() const {
  const std::lock_guard lock(view_);
  SandboxInfo info;
  info.id = record_.id;
  info.state = ParseState(record_.state).value_or(State::kFailed);
  info.cause = record_.cause;
  info.no_space = no_space && info.state == State::kRunning;
  info.template_id = record_.template_id;
  info.template_name = record_.template_name;
  info.started_at_ms = record_.started_at;
  info.end_at_ms = record_.end_at;
  info.memory_mib = record_.memory_mib;
  info.cpus = record_.cpus;
  info.disk_mib = record_.disk_mib;
  info.metadata = record_.metadata;
  info.access_token = record_.access_token;
  info.vmm = record_.vmm;
  info.accelerator = record_.accelerator;
  info.choice_reason = record_.choice_reason;
  info.slot = record_.slot;
  info.uid = record_.uid;
  info.run_dir = record_.run_dir;
  if (vm_) {
    info.warden_pid = vm_->warden_pid();
    info.vmm_pid = vm_->vmm_pid();
  }
  info.exit_code = record_.exit_code;
  info.exit_detail = record_.exit_detail;
  info.timings_ms = ParseTimings(record_.timings);
  info.started_by = record_.started_by;
  info.on_timeout = record_.on_timeout == "pause" ? TimeoutAction::kPause : TimeoutAction::kKill;
  info.auto_pause_mode = PauseModeOf(record_.auto_pause_mode);
  info.auto_resume = record_.auto_resume;
  // Rules that cannot be read are those of a sandbox that cannot be started either: show the least.
  info.network = RulesOf(record_).value_or(NetworkRules{.allow_internet = false});
  info.ports = PortsOf(record_);
  if (!record_.pause_mode.empty()) info.pause_mode = PauseModeOf(record_.pause_mode);
  info.agent_silent_at_pause = record_.agent_silent;
  info.volume_mounts = record_.volume_mounts;
  return info;
}

PortAccess Sandbox::Ports() const {
  const std::lock_guard lock(view_);
  return PortsOf(record_);
}

}  // namespace tinderbox::sandbox
