// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/teardown.h"

#include <fmt/format.h>

#include <cstring>
#include <functional>
#include <utility>

#include "sandbox/context.h"
#include "sandbox/lost.h"
#include "sys/cgroup.h"

namespace tinderbox::sandbox {

using base::Code;
using base::Result;

namespace {

constexpr std::chrono::seconds kCgroupTime{5};

// The VM is found by its run directory, not by a handle: the daemon that launched it may be gone.
Result<> EndVm(const ManagerOptions& options, const store::SandboxRecord& record,
               std::optional<vmm::ExitStatus>& exit) {
  auto vm = vmm::Adopt(RunDirOf(options, record));
  if (!vm) {
    if (vm.error().code() != Code::kNotFound) return std::unexpected(std::move(vm).error());
    TRY(EndStray(record));
    // The run directory would tell of it, if it were there.
    if (!options.enforce_limits) return {};
    return sys::RemoveCgroup(sys::HostCgroups(), CgroupOf(options, record.id),
                             base::Deadline::After(kCgroupTime));
  }
  exit = TRY((*vm)->Kill());
  return {};
}

using DiskStep = std::function<Result<>(TeardownOutcome& outcome)>;

TeardownOutcome TearDown(const ManagerOptions& options, store::SandboxRecord& record,
                         const DiskStep& remove_disk) {
  TeardownOutcome outcome;
  const auto keep_first = [&](Result<> step, std::string_view what) {
    if (!step && outcome.result) {
      outcome.result = std::unexpected(
          std::move(step).error().WithContext(fmt::format("{} of sandbox '{}'", what, record.id)));
    }
  };
  // Before the VM: they are in its control group.
  if (options.volumes != nullptr) options.volumes->Release(record.id);
  // The VM first: it uses all the rest. Its namespace and disk must not be given away while it
  // lives.
  keep_first(EndVm(options, record, outcome.exit), "end the VM");
  if (!outcome.result) return outcome;
  if (options.capacity != nullptr) options.capacity->Release(record.id);
  record.warden_pid = record.warden_start = 0;
  record.boot_id.clear();
  keep_first(vmm::Remove(RunDirOf(options, record)), "remove the run directory");
  if (record.slot != 0) {
    options.gateway.Forget(record.slot);
    Result<> released = options.slots.Release(record.slot);
    if (released) record.slot = 0;
    keep_first(std::move(released), "release the network slot");
  }
  keep_first(remove_disk(outcome), "remove the disk");
  return outcome;
}

}  // namespace

TeardownOutcome Teardown(const ManagerOptions& options, store::SandboxRecord& record) {
  return TearDown(options, record,
                  [&](TeardownOutcome&) { return options.library.RemoveSandbox(record.id); });
}

TeardownOutcome TeardownVm(const ManagerOptions& options, store::SandboxRecord& record) {
  return TearDown(options, record,
                  [&](TeardownOutcome&) { return options.library.RemoveVmFiles(record.id); });
}

TeardownOutcome TeardownLost(const ManagerOptions& options, store::SandboxRecord& record,
                             std::string_view why) {
  return TearDown(options, record, [&](TeardownOutcome& outcome) -> Result<> {
    const auto entry = TRY(LoseDisk(options.library, record, why));
    if (entry) outcome.lost_entry = entry->name;
    return {};
  });
}

TeardownOutcome TeardownVmOnly(const ManagerOptions& options, store::SandboxRecord& record) {
  return TearDown(options, record, [](TeardownOutcome&) -> Result<> { return {}; });
}

std::string DescribeExit(const vmm::ExitStatus& exit) {
  if (exit.stopped_by == "warden") return "was ended by the death of its warden";
  if (exit.signalled) {
    return fmt::format("was killed by signal {} ({})", exit.code, strsignal(exit.code));
  }
  return fmt::format("exited with code {}", exit.code);
}

}  // namespace tinderbox::sandbox
