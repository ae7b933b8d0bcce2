// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderboxd cleanup. Works from what stands on the host, not from what the store says, and needs
// neither a VMM nor a whole database.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/claim.h"
#include "daemon/commands.h"
#include "daemon/wire.h"
#include "sys/cgroup.h"
#include "sys/directory.h"
#include "sys/file.h"
#include "vmm/launcher.h"

namespace tinderbox::daemon {
namespace {

using base::Deadline;
using base::Result;

constexpr std::chrono::seconds kCgroupTime{5};

class Cleaner {
 public:
  Cleaner(const Config& config, const HostClaim& claim)
      : config_(config), claim_(claim.claim()), former_(claim.former()) {}

  void Run() {
    RemoveVms(config_.run_dir);
    for (const std::string& former : claim_.former_run_dirs) RemoveVms(former);
    Step("cgroups", RemoveCgroups());
    Step("network", network::RemoveAll(PoolOptionsOf(config_)));
    if (former_.prefix != config_.network.prefix) {
      network::PoolOptions former = PoolOptionsOf(config_);
      former.prefix = former_.prefix;
      former.cidr = former_.cidr;
      Step(fmt::format("network of the former prefix '{}'", former.prefix),
           network::RemoveAll(former));
    }
    Step("disks", RemoveDisks());
    Step("records", RemoveRecords());
    Step("storage pool", image::ClosePool(config_.state_dir));
    Step("run directory", RemoveRunFiles());
  }
  const std::optional<base::Error>& first_error() const { return first_error_; }

 private:
  void Step(const std::string& what, const Result<>& result) {
    if (result) {
      fmt::print("  {}: removed\n", what);
    } else {
      fmt::print(stderr, "  {}: {}\n", what, result.error().ToString());
      if (!result.error().remedy().empty()) fmt::print(stderr, "    {}\n", result.error().remedy());
      if (!first_error_) first_error_ = result.error();
    }
  }

  void RemoveVms(const std::string& run_dir) {
    const auto ids = sys::NamesIn(run_dir + "/vm");
    if (!ids) Step("sandboxes", std::unexpected(ids.error()));
    for (const std::string& id : ids.value_or(std::vector<std::string>{})) {
      Step(fmt::format("sandbox {}", id), RemoveVm(fmt::format("{}/vm/{}", run_dir, id)));
    }
  }

  Result<> RemoveVm(const std::string& dir) {
    if (auto vm = vmm::Adopt(dir); vm) {
      TRY((*vm)->Kill());
      return vmm::Remove(dir);
    }
    return sys::RemoveTree(dir);
  }

  Result<> RemoveCgroups() {
    const auto& hierarchies = sys::HostCgroups();
    for (const sys::CgroupHierarchy& hierarchy : hierarchies) {
      const std::string root = hierarchy.path + "/" + config_.limits.cgroup;
      for (const std::string& name : TRY(sys::NamesIn(root))) {
        const std::string path = config_.limits.cgroup + "/" + name;
        // The group's own files are in the same directory as its children.
        const std::string processes = hierarchy.path + "/" + path + "/cgroup.procs";
        if (!sys::Exists(processes)) continue;
        const bool ours = sys::Exists(fmt::format("{}/pool/sandboxes/{}", config_.state_dir, name));
        if (!ours && !sys::ReadFile(processes).value_or("").empty()) {
          return std::unexpected(
              base::Error(
                  base::Code::kFailedPrecondition,
                  fmt::format("remove cgroup '{}': processes that are not ours are in it", path))
                  .WithRemedy("End them, or move them to another cgroup."));
        }
        TRY(sys::RemoveCgroup({hierarchy}, path, Deadline::After(kCgroupTime)));
      }
    }
    return sys::RemoveCgroup(hierarchies, config_.limits.cgroup, Deadline::After(kCgroupTime));
  }

  Result<> RemoveDisks() {
    const std::string dir = config_.state_dir + "/pool/sandboxes";
    for (const std::string& id : TRY(sys::NamesIn(dir))) TRY(sys::RemoveTree(dir + "/" + id));
    return sys::RemoveTree(config_.state_dir + "/dead");
  }

  Result<> RemoveRecords() {
    if (!sys::Exists(StorePath(config_))) return {};
    const auto store = TRY(store::OpenStore(StorePath(config_)));
    for (const store::SandboxRecord& record : TRY(store->ListSandboxes())) {
      TRY(store->DeleteSandbox(record.id));
    }
    return {};
  }

  Result<> RemoveRunFiles() {
    TRY(sys::RemoveTree(config_.run_dir + "/vm"));
    return sys::RemoveFile(config_.socket);
  }

  const Config& config_;
  const Claim& claim_;
  const Claim& former_;
  std::optional<base::Error> first_error_;
};

}  // namespace

Result<> CleanUp(const Config& config) {
  TRY(PrepareDirectories(config));
  HostClaim claim = TRY(HostClaim::Take(config, HostClaim::Purpose::kCleanUp));
  // It works in the pool, which is to be unmounted.
  const auto preparing =
      TRY(sys::Open(config.state_dir + "/prepare.lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (flock(preparing.get(), LOCK_EX | LOCK_NB) != 0) {
    return std::unexpected(base::Error(base::Code::kAlreadyExists,
                                       "clean up: `tinderboxd prepare` runs; nothing was changed")
                               .WithRemedy("Wait until it has ended."));
  }
  Cleaner cleaner(config, claim);
  cleaner.Run();
  if (const auto& error = cleaner.first_error(); error) {
    return std::unexpected(base::Error(*error).WithContext("clean up"));
  }
  claim.Forget();
  return {};
}

}  // namespace tinderbox::daemon
