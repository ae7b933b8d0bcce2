// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Volumes in sandboxes: when they are mounted.
#include "base/log.h"
#include "sandbox/context.h"
#include "sandbox/launch.h"
#include "sandbox/manager_impl.h"

namespace tinderbox::sandbox {

using base::Deadline;
using base::Result;

namespace {

constexpr std::chrono::seconds kMount{15};

}  // namespace

Result<> MountVolumes(const ManagerOptions& options, const store::SandboxRecord& record, bool known,
                      Deadline deadline) {
  if (record.volume_mounts.empty() || options.volumes == nullptr) return {};
  const std::string cgroup = options.enforce_limits ? CgroupOf(options, record.id) : "";
  auto mounted = options.volumes->Mount(record, cgroup, Deadline::After(kMount).Earlier(deadline));
  if (mounted || !known) return mounted;
  // It was somebody's before, who may have made a file of the directory: no reason to lose it.
  base::LogWarning("a resumed sandbox is without its volumes",
                   {{"sandbox", record.id}, {"error", mounted.error().ToString()}});
  return {};
}

// For a sandbox that runs already: the daemon is another, or a server has ended.
void ManagerImpl::MountInBackground(const std::string& id) {
  background_.Post([this, id] {
    const auto locked = Lock(id);
    if (!locked || locked->sandbox->state() != State::kRunning) return;
    const auto vm = locked->sandbox->vm();
    if (!vm || vm->Wait(Deadline::After(std::chrono::seconds(0)))) return;
    static_cast<void>(
        MountVolumes(options_, locked->sandbox->record(), true, Deadline::After(kMount)));
  });
}

}  // namespace tinderbox::sandbox
