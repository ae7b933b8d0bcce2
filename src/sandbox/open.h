// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "egress/gateway.h"
#include "image/library.h"
#include "network/slot_pool.h"
#include "sandbox/capacity.h"
#include "sandbox/manager.h"
#include "sandbox/volume_mounts.h"
#include "store/store.h"
#include "vmm/driver.h"

namespace tinderbox::sandbox {

// Everything referred to must outlive the manager.
struct ManagerOptions {
  store::Store& store;
  image::Library& library;
  network::SlotPool& slots;
  egress::Gateway& gateway;
  VolumeMounts* volumes = nullptr;  // none: sandboxes get no volumes
  Capacity* capacity = nullptr;     // none: no admission by memory, CPUs and disk
  vmm::Driver& driver;        // for new sandboxes, and to take up running ones of the same VMM
  std::string choice_reason;  // why this driver: kept in each sandbox's record
  std::string run_dir;        // e.g. /run/tinderbox; VMs stand at <run_dir>/vm/<id>
  // Earlier values of run_dir, which no other daemon uses. Remains of an earlier daemon are
  // removed.
  std::vector<std::string> former_run_dirs = {};
  std::string state_dir;  // consoles of dead sandboxes stand at <state_dir>/dead/<id>.log
  std::string cgroup_prefix = "tinderbox";  // cgroups are CgroupName(prefix, id)
  std::vector<std::string> dns = {"8.8.8.8", "1.1.1.1"};
  std::uint32_t max_sandboxes = 512;
  std::chrono::seconds boot_deadline{60};  // from launch to the agent's first answer
  std::chrono::hours keep_dead{24};        // how long a dead sandbox's record stays
  bool enforce_limits = true;              // cgroup limits on each VM

  // VMs kept ready for each hot template: restored, made to answer once, and stopped. 0: none.
  std::uint32_t warm_vms = 0;
  // The pool holds more, up to so many for each template, while demand is high and the host has CPU
  // and memory to spare (pool_target.h). Less than warm_vms: it never does.
  std::uint32_t most_warm_vms = 0;
  // How many templates are hot at once: those most recently used, and at first these.
  std::uint32_t hot_templates = 4;
  std::vector<std::string> warm_templates = {"base"};
  // The pool is given back while the host has less than this available.
  std::uint64_t pool_reserve_mib = 1024;
  // Called about once a second, with the bytes of the pool that guests may still take.
  std::function<void(std::uint64_t free_bytes)> on_space;
  // Tests: what there is; empty: what the kernel says.
  std::function<std::uint64_t()> available_mib;
  std::function<double()> idle_cores;
  // Tests: the clock by which the pool judges demand.
  std::function<std::chrono::steady_clock::time_point()> pool_clock;
  // Tests: called at the points of stage.h.
  std::function<void(std::string_view stage)> at_stage;
};

// Takes up what an earlier daemon left (running sandboxes are adopted, half-done operations undone,
// orphans swept), then serves. Sandboxes outlive the manager: its destructor leaves them running.
base::Result<std::unique_ptr<Manager>> OpenManager(const ManagerOptions& options);

}  // namespace tinderbox::sandbox
