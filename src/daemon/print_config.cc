// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "daemon/commands.h"
#include "tls/certificate.h"

namespace tinderbox::daemon {

base::Result<> CheckFiles(const Config& config) {
  if (UsesTls(config)) TRY(tls::LoadCertificate({config.tls_certificate, config.tls_key}));
  return {};
}

// As TOML, so that it can be read back. Paths and names hold no quotes that would need escaping:
// what has some is shown as fmt escapes it.
void PrintConfig(const Config& config) {
  const auto text = [](std::string_view key, std::string_view value) {
    fmt::print("{} = {:?}\n", key, value);
  };
  text("listen", config.listen);
  text("socket", config.socket);
  text("domain", config.domain);
  fmt::print("cors = {}\nallowed_hosts = {}\n", config.cors, config.allowed_hosts);
  text("tls_certificate", config.tls_certificate);
  text("tls_key", config.tls_key);
  text("state_dir", config.state_dir);
  text("run_dir", config.run_dir);
  text("warden", config.warden);
  text("agent", config.agent);
  text("vmm", config.vmm);
  text("firecracker", config.firecracker);
  text("qemu", config.qemu);
  text("log_level", config.log_level);
  fmt::print("\n[network]\n");
  text("prefix", config.network.prefix);
  text("cidr", config.network.cidr);
  fmt::print("dns = {}\nready_slots = {}\n", config.network.dns, config.network.ready_slots);
  text("ca_file", config.network.ca_file);
  fmt::print("connections = {}\n", config.network.connections);
  fmt::print("\n[limits]\nsandboxes = {}\n", config.limits.sandboxes);
  text("cgroup", config.limits.cgroup);
  fmt::print("enforce = {}\nuid_base = {}\nboot_seconds = {}\nkeep_dead_hours = {}\n",
             config.limits.enforce, config.limits.uid_base, config.limits.boot.count(),
             config.limits.keep_dead.count());
  fmt::print("disk_mib_per_second = {}\ndisk_operations_per_second = {}\n", config.limits.disk_mib,
             config.limits.disk_operations);
  fmt::print("\n[host]\nmemory_mib = {}\ncpus = {}\ndisk_gib = {}\n", config.host.memory_mib,
             config.host.cpus, config.host.disk_gib);
  fmt::print("\n[host.overcommit]\nmemory = {}\ncpus = {}\ndisk = {}\n",
             config.host.memory_overcommit, config.host.cpu_overcommit,
             config.host.disk_overcommit);
  fmt::print("\n[storage]\npool_gib = {}\nsparse = {}\nreserve_mib = {}\nvolume_gib = {}\n",
             config.storage.pool_gib, config.storage.sparse, config.storage.reserve_mib,
             config.storage.volume_gib);
  fmt::print("\n[images]\n");
  text("kernel_package", config.images.kernel_package);
  text("suite", config.images.suite);
  fmt::print("base_disk_gib = {}\n", config.images.base_disk_gib);
  fmt::print(
      "\n[pool]\nready = {}\nmost = {}\nhot_templates = {}\ntemplates = {}\nreserve_mib = {}\n",
      config.pool.ready, config.pool.most, config.pool.hot_templates, config.pool.templates,
      config.pool.reserve_mib);
}

}  // namespace tinderbox::daemon
