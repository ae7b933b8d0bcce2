// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/teardown.h"

#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "sandbox/context.h"

namespace tinderbox::sandbox {

using base::Code;
using base::Result;

namespace {

// The VM is found by its run directory, not by a handle: the daemon that launched it may be gone.
Result<> EndVm(const std::string& run_dir, std::optional<vmm::ExitStatus>& exit) {
  auto vm = vmm::Adopt(run_dir);
  if (!vm) {
    if (vm.error().code() == Code::kNotFound) return {};
    return std::unexpected(std::move(vm).error());
  }
  exit = TRY((*vm)->Kill());
  return {};
}

TeardownOutcome TearDown(const ManagerOptions& options, store::SandboxRecord& record,
                         bool keep_paused) {
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
  const std::string run_dir = RunDirOf(options, record.id);
  keep_first(EndVm(run_dir, outcome.exit), "end the VM");
  if (!outcome.result) return outcome;
  if (options.capacity != nullptr) options.capacity->Release(record.id);
  keep_first(vmm::Remove(run_dir), "remove the run directory");
  if (record.slot != 0) {
    options.gateway.Forget(record.slot);
    Result<> released = options.slots.Release(record.slot);
    if (released) record.slot = 0;
    keep_first(std::move(released), "release the network slot");
  }
  keep_first(keep_paused ? options.library.RemoveVmFiles(record.id)
                         : options.library.RemoveSandbox(record.id),
             "remove the disk");
  return outcome;
}

}  // namespace

TeardownOutcome Teardown(const ManagerOptions& options, store::SandboxRecord& record) {
  return TearDown(options, record, false);
}

TeardownOutcome TeardownVm(const ManagerOptions& options, store::SandboxRecord& record) {
  return TearDown(options, record, true);
}

std::string DescribeExit(const vmm::ExitStatus& exit) {
  if (exit.stopped_by == "warden") return "was ended by the death of its warden";
  if (exit.signalled) {
    return fmt::format("was killed by signal {} ({})", exit.code, strsignal(exit.code));
  }
  return fmt::format("exited with code {}", exit.code);
}

}  // namespace tinderbox::sandbox
