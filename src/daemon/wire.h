// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "daemon/config.h"
#include "egress/gateway.h"
#include "image/library.h"
#include "network/slot_pool.h"
#include "sandbox/capacity.h"
#include "sandbox/manager.h"
#include "sandbox/volume_mounts.h"
#include "secret/vault.h"
#include "store/store.h"
#include "vmm/choose.h"
#include "volume/volumes.h"

// The constructors of everything, in order.
namespace tinderbox::daemon {

// The program tinderbox-agent: as configured, else beside this program, in its libexec or lib
// directory, or in the build tree. kNotFound, kFailedPrecondition for one that cannot be executed.
base::Result<std::string> FindAgent(const Config& config);

image::LibraryOptions LibraryOptionsOf(const Config& config, const std::string& agent);
network::PoolOptions PoolOptionsOf(const Config& config);
// The capacity for sandboxes: configured, or else detected minus the host's reserve. `pool_bytes`:
// the size that the storage pool may grow to.
sandbox::CapacityLimits CapacityOf(const Config& config, std::uint64_t pool_bytes);
std::string StorePath(const Config& config);
std::string SecretsKeyPath(const Config& config);
egress::GatewayOptions GatewayOptionsOf(const Config& config, secret::Vault& secrets);

class HostClaim;
struct StartOptions;

// Members die in reverse: the manager before what it refers to.
struct System {
  std::unique_ptr<store::Store> store;
  std::unique_ptr<secret::Vault> secrets;
  std::unique_ptr<image::Library> library;
  std::unique_ptr<volume::Volumes> volumes;
  std::unique_ptr<network::SlotPool> slots;
  std::unique_ptr<egress::Gateway> gateway;
  std::unique_ptr<sandbox::VolumeMounts> mounts;
  std::unique_ptr<sandbox::Capacity> capacity;
  vmm::Choice choice;
  std::string agent;
  std::string warden;
  std::unique_ptr<sandbox::Manager> manager;
};

// Opens everything and takes up what an earlier daemon left. Blocks for a second or two.
base::Result<std::unique_ptr<System>> OpenSystem(const Config& config, const HostClaim& claim,
                                                 const StartOptions& options);

// run_dir and state_dir, with the modes that they need. kPermissionDenied where this is not root.
base::Result<> PrepareDirectories(const Config& config);

}  // namespace tinderbox::daemon
