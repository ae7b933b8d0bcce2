// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/firecracker/driver.h"

#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <utility>

#include "sys/file.h"
#include "vmm/check_spec.h"
#include "vmm/firecracker/api.h"
#include "vmm/firecracker/snapshot_files.h"
#include "vmm/starting_vm.h"

namespace tinderbox::vmm::firecracker {

using base::Code;
using base::Result;

namespace {

// A connection per call: Firecracker has ten, a VM may have handles in several processes, and a
// connect costs microseconds.
class FirecrackerVm : public Vm {
 public:
  explicit FirecrackerVm(std::unique_ptr<LaunchedVm> process) : process_(std::move(process)) {}

  LaunchedVm& process() override { return *process_; }

  Result<VmState> State(base::Deadline deadline) override {
    if (HasEnded(*process_)) return VmState::kEnded;
    auto state = AskState(deadline);
    // It may have ended between the look and the question.
    if (!state && DiedOf(*process_, state.error())) return VmState::kEnded;
    return state;
  }

  Result<> Pause(base::Deadline deadline) override { return SetState("Paused", deadline); }
  Result<> Resume(base::Deadline deadline) override { return SetState("Resumed", deadline); }

  Result<SnapshotReport> Snapshot(const SnapshotRequest& request,
                                  base::Deadline deadline) override {
    return TRY_CTX(SaveTo(request, deadline), fmt::format("snapshot VM '{}'", process_->id()));
  }

  // A reflink of a memory file with thousands of extents takes as long as writing megabytes.
  Result<> PrepareSnapshot(const SnapshotRequest& request, base::Deadline deadline) override {
    prepared_.reset();
    if (request.base.empty()) return {};
    SnapshotFiles files = TRY(SnapshotFiles::Create(*process_));
    if (auto begun = files.BeginWith(request.base, deadline); !begun) {
      // Snapshot refuses such a base, and its caller then saves without one.
      if (begun.error().code() == Code::kFailedPrecondition) return {};
      return begun;
    }
    prepared_.emplace(request.base, std::move(files));
    return {};
  }

 private:
  // With the base in it, if there is one.
  Result<SnapshotFiles> FilesFor(const std::string& base, base::Deadline deadline) {
    if (prepared_ && prepared_->base == base) {
      SnapshotFiles files = std::move(prepared_->files);
      prepared_.reset();
      return files;
    }
    prepared_.reset();  // before the next files get the same names
    SnapshotFiles files = TRY(SnapshotFiles::Create(*process_));
    if (!base.empty()) TRY(files.BeginWith(base, deadline));
    return files;
  }
  Result<SnapshotReport> SaveTo(const SnapshotRequest& request, base::Deadline deadline) {
    const auto begun = std::chrono::steady_clock::now();
    Api api(TRY(process_->ConnectApi(deadline)));
    if (TRY(api.State(deadline)) != VmState::kPaused)
      return std::unexpected(base::Error(Code::kFailedPrecondition, "the guest is not paused")
                                 .WithRemedy("Pause it first."));
    const SnapshotFiles files = TRY(FilesFor(request.base, deadline));
    TRY(files.Unsettle());
    if (auto saved = api.Call(files.Request(!request.base.empty()), deadline); !saved) {
      // A refusal has no effect. Of anything else, such as no answer, nothing is known.
      const Code code = saved.error().code();
      if (code == Code::kFailedPrecondition || code == Code::kResourceExhausted)
        TRY(files.Settle({}));
      return std::unexpected(std::move(saved).error());
    }
    TRY(files.CopyTo(request.to, deadline));
    if (auto settled = files.Settle(request.to.memory); !settled) {
      // Half a success is none. Best effort: that it failed is the error that counts.
      (void)sys::RemoveFile(request.to.memory);
      (void)sys::RemoveFile(request.to.state);
      return std::unexpected(std::move(settled).error());
    }
    // Firecracker writes both in one go and tells nothing of either.
    return SnapshotReport{.memory_took = std::chrono::steady_clock::now() - begun};
  }
  Result<VmState> AskState(base::Deadline deadline) {
    Api api(TRY(process_->ConnectApi(deadline)));
    return api.State(deadline);
  }
  Result<> SetState(std::string_view state, base::Deadline deadline) {
    Api api(TRY(process_->ConnectApi(deadline)));
    TRY(api.Call(
        {.method = "PATCH", .path = "/vm", .body = fmt::format(R"({{"state":"{}"}})", state)},
        deadline));
    return {};
  }

  const std::unique_ptr<LaunchedVm> process_;
  // Made while the guest ran; the next Snapshot over the same base writes to them.
  struct Prepared {
    std::string base;
    SnapshotFiles files;
  };
  std::optional<Prepared> prepared_;
};

class FirecrackerDriver : public Driver {
 public:
  FirecrackerDriver(Capabilities capabilities, Programs programs, HostFacts host)
      : capabilities_(std::move(capabilities)),
        programs_(std::move(programs)),
        host_(std::move(host)) {}

  const Capabilities& capabilities() const override { return capabilities_; }

  Result<LaunchPlan> Plan(const VmSpec& spec) const override {
    return MakePlan(spec, programs_, host_);
  }

  Result<std::unique_ptr<Vm>> Launch(const VmSpec& spec, base::Deadline deadline) override {
    const auto context = [&] { return fmt::format("start VM '{}'", spec.id); };
    const LaunchPlan plan = TRY_CTX(Plan(spec), context());
    TRY_CTX(CheckFiles(spec), context());
    if (spec.snapshots)
      TRY_CTX(SnapshotFiles::PrepareDirectory(spec.snapshot_dir, spec.gid), context());
    StartingVm starting(TRY_CTX(vmm::Launch(plan.launch, deadline), context()).vm);
    if (auto configured = Configure(starting, plan.requests, deadline); !configured)
      return std::unexpected(
          starting.Explain(std::move(configured).error()).WithContext(context()));
    return std::make_unique<FirecrackerVm>(starting.Release());
  }

  Result<std::unique_ptr<Vm>> Adopt(const std::string& run_dir) override {
    return std::make_unique<FirecrackerVm>(TRY(vmm::Adopt(run_dir)));
  }

 private:
  // Sends all requests over one connection. The last one starts the guest; a refusal of it leaves
  // the process alive in its pre-boot state, which the caller's StartingVm ends.
  static Result<> Configure(StartingVm& starting, const std::vector<PlannedRequest>& requests,
                            base::Deadline deadline) {
    Api api(TRY(starting.vm().ConnectApi(deadline)));
    for (const PlannedRequest& request : requests) {
      const bool starts_guest = &request == &requests.back();
      auto answer = api.Call(request, deadline);
      if (answer) continue;
      if (starts_guest && answer.error().code() == Code::kUnavailable && starting.EndedWell())
        return {};
      return std::unexpected(std::move(answer).error());
    }
    return {};
  }

  const Capabilities capabilities_;
  const Programs programs_;
  const HostFacts host_;
};

}  // namespace

std::unique_ptr<Driver> MakeDriver(Capabilities capabilities, Programs programs, HostFacts host) {
  return std::make_unique<FirecrackerDriver>(std::move(capabilities), std::move(programs),
                                             std::move(host));
}

}  // namespace tinderbox::vmm::firecracker
