// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "daemon/wire.h"

#include <fmt/format.h>
#include <limits.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "base/log.h"
#include "daemon/ballast.h"
#include "daemon/claim.h"
#include "daemon/commands.h"
#include "daemon/reconcile.h"
#include "daemon/stage_hook.h"
#include "image/lost_found.h"
#include "sandbox/open.h"
#include "sys/cgroup_limit.h"
#include "sys/file.h"
#include "vmm/drivers.h"

namespace tinderbox::daemon {

using base::Code;
using base::Result;

Result<std::string> FindAgent(const Config& config) {
  std::vector<std::string> places;
  if (!config.agent.empty()) {
    places.push_back(config.agent);
  } else {
    char self[PATH_MAX];
    const ssize_t size = ::readlink("/proc/self/exe", self, sizeof(self));
    const std::string exe(self, static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
    const std::string dir = exe.substr(0, exe.rfind('/'));
    for (const char* place : {"/", "/../libexec/tinderbox/", "/../lib/tinderbox/", "/../agent/"}) {
      places.push_back(dir + place + "tinderbox-agent");
    }
  }
  for (const std::string& place : places) {
    if (!sys::Exists(place)) continue;
    if (::access(place.c_str(), X_OK) == 0) return place;
    return base::Fail(Code::kFailedPrecondition,
                      fmt::format("find the agent: '{}' is not executable", place));
  }
  return std::unexpected(
      base::Error(Code::kNotFound, fmt::format("find the agent: no '{}'", places.front()))
          .WithRemedy("Install tinderbox-agent, or set `agent` in the configuration to its path."));
}

image::LibraryOptions LibraryOptionsOf(const Config& config, const std::string& agent) {
  image::LibraryOptions options;
  options.state_dir = config.state_dir;
  options.agent = agent;
  options.pool_bytes = config.storage.pool_gib << 30;
  options.pool_sparse = config.storage.sparse;
  options.reserve_bytes = config.storage.reserve_mib << 20;
  options.kernel_package = config.images.kernel_package;
  options.suite = config.images.suite;
  options.base_disk_bytes = config.images.base_disk_gib << 30;
  return options;
}

network::PoolOptions PoolOptionsOf(const Config& config) {
  network::PoolOptions options;
  options.prefix = config.network.prefix;
  options.cidr = config.network.cidr;
  // Slots in quarantine come on top of those in use.
  options.max_slots = std::min<std::uint32_t>(config.limits.sandboxes + 64, 16384);
  options.uid_base = config.limits.uid_base;
  options.ready = config.network.ready_slots;
  options.connections = config.network.connections;
  return options;
}

sandbox::CapacityLimits CapacityOf(const Config& config, std::uint64_t pool_bytes) {
  const Config::Host& host = config.host;
  const sandbox::Resources detected = sandbox::DetectedHost();
  const std::uint64_t pool_mib = pool_bytes >> 20;
  const std::uint64_t disk_mib = pool_mib - std::min(pool_mib / 2, config.storage.reserve_mib);
  return {.host = {.memory_mib = host.memory_mib != 0 ? host.memory_mib : detected.memory_mib,
                   .cpus = host.cpus != 0 ? host.cpus : detected.cpus,
                   .disk_mib = host.disk_gib != 0 ? host.disk_gib << 10 : disk_mib},
          .memory_overcommit = host.memory_overcommit,
          .cpu_overcommit = host.cpu_overcommit,
          .disk_overcommit = host.disk_overcommit};
}

std::string StorePath(const Config& config) { return config.state_dir + "/tinderbox.db"; }

std::string SecretsKeyPath(const Config& config) { return config.state_dir + "/secrets.key"; }

egress::GatewayOptions GatewayOptionsOf(const Config& config, secret::Vault& secrets) {
  egress::GatewayOptions options;
  options.dns = config.network.dns;
  options.authority = config.state_dir + "/egress-ca.pem";
  options.ca_file = config.network.ca_file;
  options.secret = [&secrets](std::string_view name, std::string& to) -> Result<> {
    const secret::SecretText value = TRY(secrets.Value(name));
    to += value.Reveal();
    return {};
  };
  return options;
}

Result<> PrepareDirectories(const Config& config) {
  if (::geteuid() != 0) {
    return std::unexpected(
        base::Error(Code::kPermissionDenied,
                    "tinderboxd must run as root: it makes namespaces, mounts and devices")
            .WithRemedy("Run it with sudo, or as a system service."));
  }
  // The run directory may be entered by those who may use the socket; what is inside has modes of
  // its own.
  TRY_CTX(sys::MakeDirs(config.run_dir, 0711), "make run_dir");
  TRY_CTX(sys::MakeDirs(config.state_dir, 0711), "make state_dir");
  const std::string socket_dir = config.socket.substr(0, config.socket.rfind('/'));
  if (!socket_dir.empty()) TRY_CTX(sys::MakeDirs(socket_dir, 0711), "make the socket's directory");
  return {};
}

namespace {

// The program tinderbox-volume: beside the warden, or in the build tree.
std::string VolumeServerNear(const std::string& warden) {
  const std::string folder = warden.substr(0, warden.rfind('/'));
  const std::string built = folder + "/../volume/tinderbox-volume";
  return sys::Exists(built) ? built : folder + "/tinderbox-volume";
}

// Bytes that volumes leave free for the sandboxes' disks. An image may be small at first.
std::uint64_t VolumeReserve(const Config& config, image::Library& library) {
  const std::uint64_t reserve = config.storage.reserve_mib << 20;
  if (!sys::Exists(config.state_dir + "/pool.img")) return reserve;
  const auto space = library.PoolSpace();
  return space ? std::min(reserve, space->total_bytes / 8) : reserve;
}

// The storage watch calls this about once a second.
std::function<void(std::uint64_t)> OnSpace(const Config& config, volume::Volumes& volumes) {
  constexpr int kEvery = 30;
  return [config, &volumes, calls = 0](std::uint64_t free_bytes) mutable {
    volumes.OnSpace(free_bytes);
    if (calls++ % kEvery != 0) return;
    AllocateAhead(StorePath(config));
    MakeBallast(config.state_dir);
  };
}

// The last line of defence: whatever VMs and their helpers use, the host keeps its share.
void LimitAllSandboxes(const Config& config, const sandbox::CapacityLimits& limits) {
  if (!config.limits.enforce) return;
  const auto limited =
      sys::LimitGroupMemory(sys::HostCgroups(), config.limits.cgroup, limits.host.memory_mib << 20);
  if (!limited) {
    base::LogWarning("the memory of all sandboxes together has no limit",
                     {{"error", limited.error().ToString()}});
  }
}

Result<std::unique_ptr<volume::Volumes>> OpenVolumes(const Config& config, System& system,
                                                     bool adopt) {
  image::Library* const library = system.library.get();
  const auto keep_lost = [library](const volume::Lost& lost, const std::string& path) -> Result<> {
    TRY(image::LostFound(library->pool_dir())
            .Keep({.kind = "volume", .id = lost.id, .label = lost.name, .why = lost.why}, path));
    return {};
  };
  return volume::Volumes::Open(
      {.directory = library->pool_dir() + "/volumes",
       .store = *system.store,
       .ensure_room = [library](std::uint64_t bytes) { return library->EnsureRoom(bytes); },
       .limit_bytes = config.storage.volume_gib << 30,
       .reserve_bytes = VolumeReserve(config, *library),
       .keep_lost = keep_lost,
       .adopt = adopt});
}

// No sandbox runs with it, or the claim would have been refused.
void RemoveFormerNetwork(const Config& config, const Claim& former) {
  if (former.prefix == config.network.prefix) return;
  network::PoolOptions options = PoolOptionsOf(config);
  options.prefix = former.prefix;
  options.cidr = former.cidr;
  if (auto removed = network::RemoveAll(options); !removed) {
    base::LogWarning("cannot remove the networks of the former prefix",
                     {{"prefix", former.prefix}, {"error", removed.error().ToString()}});
  }
}

}  // namespace

Result<std::unique_ptr<System>> OpenSystem(const Config& config, const HostClaim& claim,
                                           const StartOptions& options) {
  auto system = std::make_unique<System>();
  system->agent = TRY(FindAgent(config));
  system->warden = config.warden.empty() ? TRY(vmm::FindWardenProgram()) : config.warden;
  if (::access(system->warden.c_str(), X_OK) != 0) {
    return base::FailErrno(errno, fmt::format("find the warden: '{}'", system->warden));
  }
  system->store = TRY(store::OpenStore(StorePath(config)));
  system->secrets =
      std::make_unique<secret::Vault>(system->store->Secrets(), SecretsKeyPath(config));
  system->library =
      TRY(image::OpenLibrary(LibraryOptionsOf(config, system->agent), [](std::string_view line) {
        base::LogInfo("storage", {{"doing", line}});
      }));
  const bool adopt = TRY(Reconcile(config, *system, options));
  const std::uint64_t volume_reserve = VolumeReserve(config, *system->library);
  system->volumes = TRY(OpenVolumes(config, *system, adopt));
  const vmm::VmmWish wish = TRY(vmm::ParseVmmWish(config.vmm));
  system->choice =
      TRY(vmm::ChooseDriver({.vmm = wish,
                             .firecracker = config.firecracker,
                             .qemu = config.qemu,
                             .warden = system->warden,
                             .disk = {.bytes_per_second = config.limits.disk_mib << 20,
                                      .operations_per_second = config.limits.disk_operations}}));
  RemoveFormerNetwork(config, claim.former());
  system->slots = TRY(network::OpenSlotPool(PoolOptionsOf(config)));
  system->gateway = TRY(egress::OpenGateway(GatewayOptionsOf(config, *system->secrets)));
  system->mounts = std::make_unique<sandbox::VolumeMounts>(
      sandbox::VolumeMounts::Options{.volumes = *system->volumes,
                                     .slots = *system->slots,
                                     .program = VolumeServerNear(system->warden),
                                     .reserve_bytes = volume_reserve});
  const auto space = system->library->PoolSpace();
  const auto limits = CapacityOf(config, space ? space->most_bytes : 0);
  LimitAllSandboxes(config, limits);
  system->capacity = std::make_unique<sandbox::Capacity>(limits);
  system->manager = TRY(sandbox::OpenManager({.store = *system->store,
                                              .library = *system->library,
                                              .slots = *system->slots,
                                              .gateway = *system->gateway,
                                              .volumes = system->mounts.get(),
                                              .capacity = system->capacity.get(),
                                              .driver = *system->choice.driver,
                                              .choice_reason = system->choice.reason,
                                              .run_dir = config.run_dir,
                                              .former_run_dirs = claim.claim().former_run_dirs,
                                              .state_dir = config.state_dir,
                                              .cgroup_prefix = config.limits.cgroup,
                                              .dns = config.network.dns,
                                              .max_sandboxes = config.limits.sandboxes,
                                              .boot_deadline = config.limits.boot,
                                              .keep_dead = config.limits.keep_dead,
                                              .enforce_limits = config.limits.enforce,
                                              .warm_vms = config.pool.ready,
                                              .most_warm_vms = config.pool.most,
                                              .hot_templates = config.pool.hot_templates,
                                              .warm_templates = config.pool.templates,
                                              .pool_reserve_mib = config.pool.reserve_mib,
                                              .on_space = OnSpace(config, *system->volumes),
                                              .at_stage = StageHook()}));
  MakeBallast(config.state_dir);
  TRY(FinishReconciling(config));
  return system;
}

}  // namespace tinderbox::daemon
