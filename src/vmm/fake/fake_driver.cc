// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/fake/fake_driver.h"

#include <utility>

#include "vmm/firecracker/driver.h"
#include "vmm/qemu/driver.h"

namespace tinderbox::vmm::fake {

std::unique_ptr<Driver> MakeDriver(Protocol protocol, const Programs& programs, HostFacts host) {
  Capabilities capabilities = {.vmm = "fake",
                               .version = "0.0.0",
                               .binary = programs.fake_vmm,
                               .accelerator = Accelerator::kTcg,
                               .runs_linux = false,
                               .disk_hotplug = false,
                               .diff_snapshots = false,
                               .needs_pvh_note = false};
  if (protocol == Protocol::kQmp)
    return qemu::MakeDriver(std::move(capabilities),
                            {.qemu = programs.fake_vmm, .warden = programs.warden}, std::move(host),
                            nullptr);
  return firecracker::MakeDriver(std::move(capabilities),
                                 {.firecracker = programs.fake_vmm, .warden = programs.warden},
                                 std::move(host));
}

}  // namespace tinderbox::vmm::fake
