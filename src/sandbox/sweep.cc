// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Removes what belongs to no sandbox once all sandboxes have been recovered.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "sandbox/context.h"
#include "sandbox/lost.h"
#include "sandbox/manager_impl.h"
#include "sandbox/teardown.h"
#include "sys/directory.h"
#include "sys/file.h"

namespace tinderbox::sandbox {

// VMs that belong to no sandbox are ended; what they wrote is kept.
void ManagerImpl::SweepVms(const std::string& run_dir) {
  const auto vms = sys::NamesIn(run_dir + "/vm");
  if (!vms) Report(vms.error().ToString());
  for (const std::string& id : vms.value_or(std::vector<std::string>{})) {
    if (const auto sandbox = Find(id); sandbox && RunDirOf(options_, (*sandbox)->record()) ==
                                                      fmt::format("{}/vm/{}", run_dir, id)) {
      continue;
    }
    store::SandboxRecord orphan;
    orphan.id = id;
    orphan.run_dir = fmt::format("{}/vm/{}", run_dir, id);
    // Its files, if they belong to no sandbox, follow below.
    const TeardownOutcome outcome = TeardownVmOnly(options_, orphan);
    Report(fmt::format("VM '{}' belonged to no sandbox: {}", id,
                       outcome.result ? "removed" : outcome.result.error().ToString()));
  }
}

void ManagerImpl::SweepDisks() {
  const auto disks = options_.library.SandboxDirs();
  if (!disks) return Report(disks.error().ToString());
  for (const std::string& id : *disks) {
    if (Find(id)) continue;
    if (IsEphemeral(options_.library, id)) {
      const auto removed = options_.library.RemoveSandbox(id);
      Report(fmt::format("disk '{}' belonged to no sandbox: {}", id,
                         removed ? "removed" : removed.error().ToString()));
      continue;
    }
    store::SandboxRecord record;
    if (auto beside = RecordBeside(options_.store, options_.library, id)) record = *beside;
    record.id = id;
    const auto kept =
        LoseDisk(options_.library, record, "the database has no record of this sandbox");
    if (!kept) {
      Report(kept.error().ToString());
    } else if (*kept) {
      Report(fmt::format("the disk of an unknown sandbox '{}' is kept: run 'tinderbox recover ls'",
                         id));
    }
  }
}

// Objects with our names that belong to no sandbox: VMs and networks are removed, data is kept.
void ManagerImpl::SweepOrphans() {
  SweepVms(options_.run_dir);
  for (const std::string& former : options_.former_run_dirs) SweepVms(former);
  SweepDisks();
  const std::string dead = options_.state_dir + "/dead";
  for (const std::string& name : sys::NamesIn(dead).value_or(std::vector<std::string>{})) {
    const bool ours = name.ends_with(".log") && Find(name.substr(0, name.size() - 4)).has_value();
    if (!ours) static_cast<void>(sys::RemoveFile(fmt::format("{}/{}", dead, name)));
  }
  auto swept = options_.slots.Sweep();
  if (!swept) {
    Report(fmt::format("network: {}", swept.error().ToString()));
    return;
  }
  for (const std::string& line : *swept) Report(line);
}

}  // namespace tinderbox::sandbox
