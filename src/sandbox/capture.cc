// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/capture.h"

#include <fmt/format.h>

#include <utility>

#include "base/log.h"
#include "sandbox/agent_link.h"
#include "sandbox/context.h"
#include "sandbox/saved.h"
#include "sys/file.h"

namespace tinderbox::sandbox {

using base::Code;
using base::Deadline;
using base::Result;

namespace {

constexpr std::chrono::seconds kGoOn{10};

// What a snapshot of this VM is written over: its latest one, or else what its memory began as.
std::string BaseOf(const ManagerOptions& options, const std::string& id) {
  const std::string dir = fmt::format("{}/sandboxes/{}", options.library.pool_dir(), id);
  const std::string latest = dir + "/memory.latest";
  return sys::Exists(latest) ? latest : dir + "/memory.base";
}

}  // namespace

namespace {

// Writes out what of the disk is not on the host's disk yet.
Result<> Flush(const ManagerOptions& options, const std::string& id, vmm::Vm& vm) {
  auto checked = CheckDisk(options, id, vm.process(), vmm::DiskSync::kFlush);
  if (checked || checked.error().code() != Code::kNotFound) return checked;
  return options.library.FlushDisk(id);
}

}  // namespace

bool IsLostDisk(const base::Error& error) {
  return error.code() == Code::kDataLoss && error.errno_value() != 0;
}

Result<> CheckDisk(const ManagerOptions& options, const std::string& id, vmm::LaunchedVm& vm,
                   vmm::DiskSync sync) {
  const std::string disk = fmt::format("{}/sandboxes/{}/disk.img", options.library.pool_dir(), id);
  return vmm::CheckDisk(vm, disk, sync);
}

StoppedGuest::StoppedGuest(const ManagerOptions& options, store::SandboxRecord record,
                           PauseMode mode, std::unique_ptr<vmm::Vm> vm, image::Capture capture)
    : options_(&options),
      record_(std::move(record)),
      mode_(mode),
      capture_(std::move(capture)),
      vm_(std::move(vm)),
      since_(std::chrono::steady_clock::now()) {}

vmm::SnapshotRequest StoppedGuest::Request() const {
  return {.to = {.memory = capture_.memory(), .state = capture_.state()},
          .base = BaseOf(*options_, record_.id)};
}

Result<StoppedGuest> StoppedGuest::Stop(const ManagerOptions& options,
                                        const store::SandboxRecord& record, PauseMode mode,
                                        Silent silent, Deadline deadline) {
  const std::string& driver = options.driver.capabilities().vmm;
  if (record.vmm != driver) {
    return std::unexpected(
        base::Error(Code::kFailedPrecondition,
                    fmt::format("save sandbox '{}': it runs under {}, and the daemon drives {}",
                                record.id, record.vmm, driver))
            .WithRemedy(fmt::format(
                "Set vmm = \"{}\" in the configuration, and restart the daemon.", record.vmm)));
  }
  std::unique_ptr<vmm::Vm> vm = TRY(options.driver.Adopt(RunDirOf(options, record)));
  StoppedGuest guest(options, record, mode, std::move(vm), TRY(options.library.BeginCapture()));
  if (mode == PauseMode::kFull) {
    if (auto prepared = guest.vm_->PrepareSnapshot(guest.Request(), deadline); !prepared) {
      base::LogDebug("nothing was saved ahead",
                     {{"sandbox", record.id}, {"error", prepared.error().ToString()}});
    }
  }
  if (mode == PauseMode::kFilesystem) TRY(guest.FreezeFilesystem(deadline));
  TRY_CTX(Flush(options, record.id, *guest.vm_), fmt::format("sandbox '{}'", record.id));
  // Last, so that it stands still as briefly as can be.
  if (mode == PauseMode::kFull) TRY(guest.FreezeProcesses(silent, deadline));
  TRY(guest.PauseCpus(deadline));
  // Little is left to write; but that, too, may be lost.
  TRY_CTX(Flush(options, record.id, *guest.vm_), fmt::format("sandbox '{}'", record.id));
  return guest;
}

Result<> StoppedGuest::FreezeFilesystem(Deadline deadline) {
  frozen_ = true;
  auto done =
      AgentLink(options_->slots, record_.slot).FreezeFilesystem(record_.access_token, deadline);
  since_ = std::chrono::steady_clock::now();
  if (done) return {};
  return base::Fail(
      Code::kUnavailable,
      fmt::format("the guest cannot write out its file system: {}", done.error().ToString()));
}

Result<> StoppedGuest::FreezeProcesses(Silent silent, Deadline deadline) {
  since_ = std::chrono::steady_clock::now();
  if (record_.agent_silent && silent == Silent::kAccept) return {};
  frozen_ = true;
  auto done =
      AgentLink(options_->slots, record_.slot).FreezeProcesses(record_.access_token, deadline);
  if (done) return {};
  const bool old = done.error().code() == Code::kUnimplemented;
  if (!old && silent == Silent::kRefuse) {
    return std::unexpected(
        base::Error(Code::kUnavailable, done.error().ToString())
            .WithRemedy("Try again when the guest answers, or pause the sandbox instead."));
  }
  base::LogWarning(
      "a guest is captured while its processes run: copies of it draw some random "
      "numbers alike",
      {{"sandbox", record_.id}, {"error", done.error().ToString()}});
  return {};
}

Result<> StoppedGuest::PauseCpus(Deadline deadline) {
  TRY(vm_->Pause(deadline));
  // The guest's clock is not faster than ours, so its processes are still frozen.
  if (!frozen_ || std::chrono::steady_clock::now() - since_ < AgentLink::kFrozenFor * 2 / 3)
    return {};
  return std::unexpected(
      base::Error(Code::kUnavailable, "the guest was frozen for too long before its VM stopped")
          .WithRemedy("Try again when the host is less busy."));
}

Result<> StoppedGuest::SaveMemory(Deadline deadline) {
  vmm::SnapshotRequest request = Request();
  auto saved = vm_->Snapshot(request, deadline);
  if (!saved && saved.error().code() == Code::kFailedPrecondition) {
    // What its latest snapshot is nobody knows for sure any more: then all of it.
    request.base.clear();
    saved = vm_->Snapshot(request, deadline);
  }
  if (!saved) return std::unexpected(std::move(saved).error());
  base::LogDebug("saved memory",
                 {{"sandbox", record_.id},
                  {"bytes", saved->memory_bytes},
                  {"ms", std::chrono::duration<double, std::milli>(saved->memory_took).count()}});
  return {};
}

Result<image::Capture> StoppedGuest::Save(Deadline deadline) {
  if (mode_ == PauseMode::kFull) {
    TRY(SaveMemory(deadline));
    TRY(options_->library.KeepMemory(record_.id, capture_.memory()));
  }
  TRY(options_->library.CaptureDisk(capture_, record_.id));
  return std::move(capture_);
}

Result<std::chrono::nanoseconds> StoppedGuest::Resume(Deadline deadline) {
  TRY(vm_->Resume(deadline));
  vm_.reset();
  Thaw();
  return std::chrono::steady_clock::now() - since_;
}

void StoppedGuest::Thaw() const {
  if (!frozen_) return;
  const auto thawed =
      AgentLink(options_->slots, record_.slot).GoOn(record_.access_token, Deadline::After(kGoOn));
  if (thawed) return;
  base::LogWarning("a guest stays frozen until its agent lets it go on by itself",
                   {{"sandbox", record_.id}, {"error", thawed.error().ToString()}});
}

StoppedGuest::~StoppedGuest() {
  if (!vm_) return;
  if (auto resumed = Resume(Deadline::After(kGoOn)); !resumed) {
    base::LogWarning("a guest that was stopped does not go on",
                     {{"sandbox", record_.id}, {"error", resumed.error().ToString()}});
  }
}

image::Template DescribeSaved(const ManagerOptions& options, const store::SandboxRecord& record,
                              PauseMode mode) {
  image::Template info;
  info.disk_bytes = record.disk_mib << 20;
  info.memory_mib = record.memory_mib;
  info.cpus = record.cpus;
  // What the sandbox came from may have gone since; its agent knows its own defaults.
  if (const auto source = options.library.FindTemplate(record.template_id)) {
    info.default_user = source->default_user;
    info.default_workdir = source->default_workdir;
  }
  for (const auto& [name, value] : record.env) info.env.emplace_back(name, value);
  info.source_sandbox = record.id;
  info.parent = record.template_id;
  if (mode == PauseMode::kFull) {
    const auto kernel = options.library.DefaultKernel();
    info.vm = SavedVmOf(options.driver.capabilities(), kernel ? kernel->version : "");
    info.agent_token = record.access_token;
  }
  return info;
}

}  // namespace tinderbox::sandbox
