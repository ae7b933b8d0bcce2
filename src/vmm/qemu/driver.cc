// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/qemu/driver.h"

#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <utility>

#include "vmm/check_spec.h"
#include "vmm/memory_capture.h"
#include "vmm/memory_file.h"
#include "vmm/qemu/device_state.h"
#include "vmm/qemu/qmp.h"
#include "vmm/qemu/state_file.h"
#include "vmm/starting_vm.h"

namespace tinderbox::vmm::qemu {

using base::Code;
using base::Error;
using base::Result;

namespace {

Error NoRoom(const std::string& id) {
  return Error(Code::kResourceExhausted,
               fmt::format("pause VM '{}': a write of its disk waits for free space", id))
      .WithRemedy("Free disk space on the host, then try again.");
}

// A connection per call: QEMU serves one monitor connection at a time and lets the next ones wait,
// and a VM may have handles in several processes.
class QemuVm : public Vm {
 public:
  explicit QemuVm(std::unique_ptr<LaunchedVm> process) : process_(std::move(process)) {}

  LaunchedVm& process() override { return *process_; }

  Result<VmState> State(base::Deadline deadline) override {
    if (HasEnded(*process_)) return VmState::kEnded;
    auto state = AskState(deadline);
    // It may have ended between the look and the question.
    if (!state && DiedOf(*process_, state.error())) return VmState::kEnded;
    return state;
  }

  Result<> Pause(base::Deadline deadline) override {
    auto connection = TRY(process_->ConnectApi(deadline));
    Qmp qmp = TRY(Qmp::Open(std::move(connection), deadline));
    TRY(qmp.Run("stop", deadline));
    if (TRY(qmp.RunState(deadline)) != "io-error") return {};
    // QEMU stopped it by itself before; it stays so until the write succeeds.
    return std::unexpected(NoRoom(process_->id()));
  }
  Result<> Resume(base::Deadline deadline) override { return Run("cont", deadline); }

  Result<SnapshotReport> Snapshot(const SnapshotRequest& request,
                                  base::Deadline deadline) override {
    return TRY_CTX(SaveTo(request, deadline), fmt::format("snapshot VM '{}'", process_->id()));
  }

  Result<> PrepareSnapshot(const SnapshotRequest& request, base::Deadline deadline) override {
    prepared_.reset();
    if (request.base.empty()) return {};
    NewFile memory = TRY(NewFile::Create(request.to.memory));
    MemoryCapture guest = TRY(MemoryCapture::Open(*process_, kJailMemory));
    TRY(guest.SaveChanges(request.base, memory.fd(), deadline));
    prepared_.emplace(request.base, std::move(memory), std::move(guest));
    return {};
  }

 private:
  Result<SnapshotReport> SaveTo(const SnapshotRequest& request, base::Deadline deadline) {
    using Clock = std::chrono::steady_clock;
    auto connection = TRY(process_->ConnectApi(deadline));
    Qmp qmp = TRY(Qmp::Open(std::move(connection), deadline));
    if (TRY(qmp.State(deadline)) != VmState::kPaused)
      return std::unexpected(Error(Code::kFailedPrecondition, "the guest is not paused")
                                 .WithRemedy("Pause it first."));
    std::optional<Prepared> prepared = std::exchange(prepared_, std::nullopt);
    if (prepared &&
        (prepared->memory.path() != request.to.memory || prepared->base != request.base)) {
      prepared.reset();
    }
    NewFile memory =
        prepared ? std::move(prepared->memory) : TRY(NewFile::Create(request.to.memory));
    NewFile state = TRY(NewFile::Create(request.to.state));
    SnapshotReport report;
    const auto begun = Clock::now();
    const std::string saved = WrapState(TRY(SaveDeviceState(qmp, deadline)));
    TRY(WriteAt(state.fd(), saved.data(), saved.size(), 0));
    const auto state_saved = Clock::now();
    MemoryCapture guest =
        prepared ? std::move(prepared->guest) : TRY(MemoryCapture::Open(*process_, kJailMemory));
    // QEMU is not paused as its guest is. Its guest may have taken it over: then it must not change
    // its memory and mappings under our hands.
    const sys::FrozenProcess frozen = TRY(guest.Freeze(deadline));
    if (request.base.empty()) {
      report.memory_bytes = TRY(guest.SaveAll(memory.fd(), deadline));
    } else if (prepared) {
      report.memory_bytes = TRY(guest.UpdateChanges(memory.fd(), deadline));
    } else {
      report.memory_bytes = TRY(guest.SaveChanges(request.base, memory.fd(), deadline));
    }
    if (HasEnded(*process_)) return base::Fail(Code::kUnavailable, "the VMM has ended");
    TRY(memory.Seal());
    TRY(state.Seal());
    report.state_took = state_saved - begun;
    report.memory_took = Clock::now() - state_saved;
    memory.Keep();
    state.Keep();
    return report;
  }
  Result<VmState> AskState(base::Deadline deadline) {
    auto connection = TRY(process_->ConnectApi(deadline));
    Qmp qmp = TRY(Qmp::Open(std::move(connection), deadline));
    return qmp.State(deadline);
  }
  Result<> Run(std::string_view command, base::Deadline deadline) {
    auto connection = TRY(process_->ConnectApi(deadline));
    Qmp qmp = TRY(Qmp::Open(std::move(connection), deadline));
    return qmp.Run(command, deadline);
  }

  const std::unique_ptr<LaunchedVm> process_;
  // Memory that was saved while the guest ran; what it has changed since is written over.
  struct Prepared {
    std::string base;
    NewFile memory;
    MemoryCapture guest;
  };
  std::optional<Prepared> prepared_;
};

// What QEMU printed before it gave up, matched to what the user can do about it.
Error WithRemedyFor(Error error) {
  const std::string& message = error.message();
  const auto says = [&message](std::string_view words) {
    return message.find(words) != std::string::npos;
  };
  if (says("loading uncompressed kernel") || says("loading elf kernel") ||
      says("could not load kernel") || says("invalid kernel"))
    return Error(Code::kInvalidArgument, message, error.where())
        .WithRemedy("Give an uncompressed x86-64 kernel (vmlinux) built with CONFIG_PVH.");
  if (says("Cannot allocate memory") || says("cannot set up guest memory"))
    return Error(Code::kResourceExhausted, message, error.where())
        .WithRemedy("Give the VM less memory.");
  if (says("load of migration failed"))
    return Error(Code::kDataLoss, message, error.where())
        .WithRemedy("Use a snapshot of this QEMU and this kind of VM, or boot from its disk.");
  return error;
}

class QemuDriver : public Driver {
 public:
  QemuDriver(Capabilities capabilities, Programs programs, HostFacts host,
             std::unique_ptr<Runtime> runtime)
      : capabilities_(std::move(capabilities)),
        programs_(std::move(programs)),
        host_(std::move(host)),
        runtime_(std::move(runtime)) {}

  const Capabilities& capabilities() const override { return capabilities_; }

  Result<LaunchPlan> Plan(const VmSpec& spec) const override {
    Programs programs = programs_;
    if (runtime_) programs.runtime = TRY(runtime_->Binds());
    return MakePlan(spec, programs, host_, capabilities_.accelerator);
  }

  Result<std::unique_ptr<Vm>> Launch(const VmSpec& spec, base::Deadline deadline) override {
    const auto context = [&] { return fmt::format("start VM '{}'", spec.id); };
    const LaunchPlan plan = TRY_CTX(Plan(spec), context());
    TRY_CTX(CheckFiles(spec), context());
    std::string state;
    if (!spec.state.empty()) state = TRY_CTX(ReadStateFile(spec.state), context());
    StartingVm starting(TRY_CTX(vmm::Launch(plan.launch, deadline), context()).vm);
    if (auto begun = Begin(starting, spec, state, deadline); !begun)
      return std::unexpected(
          WithRemedyFor(starting.Explain(std::move(begun).error())).WithContext(context()));
    return std::make_unique<QemuVm>(starting.Release());
  }

  Result<std::unique_ptr<Vm>> Adopt(const std::string& run_dir) override {
    return std::make_unique<QemuVm>(TRY(vmm::Adopt(run_dir)));
  }

 private:
  static Result<> Begin(StartingVm& starting, const VmSpec& spec, std::string_view state,
                        base::Deadline deadline) {
    auto connection = TRY(starting.vm().ConnectApi(deadline));
    Qmp qmp = TRY(Qmp::Open(std::move(connection), deadline));
    if (!spec.state.empty()) TRY(LoadDeviceState(qmp, state, deadline));
    if (spec.start_paused) return {};
    auto begun = qmp.Run("cont", deadline);
    if (!begun && begun.error().code() == Code::kUnavailable && starting.EndedWell()) return {};
    return begun;
  }

  const Capabilities capabilities_;
  const Programs programs_;
  const HostFacts host_;
  const std::unique_ptr<Runtime> runtime_;
};

}  // namespace

std::unique_ptr<Driver> MakeDriver(Capabilities capabilities, Programs programs, HostFacts host,
                                   std::unique_ptr<Runtime> runtime) {
  return std::make_unique<QemuDriver>(std::move(capabilities), std::move(programs), std::move(host),
                                      std::move(runtime));
}

}  // namespace tinderbox::vmm::qemu
