// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderboxd cleanup. Works from what stands on the host, not from what the store says, and needs
// neither a VMM nor a whole database.
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "daemon/commands.h"
#include "daemon/instance_lock.h"
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
  explicit Cleaner(const Config& config) : config_(config) {}

  void Run() {
    const auto ids = sys::NamesIn(config_.run_dir + "/vm");
    if (!ids) Step("sandboxes", std::unexpected(ids.error()));
    for (const std::string& id : ids.value_or(std::vector<std::string>{})) {
      Step(fmt::format("sandbox {}", id), RemoveVm(id));
    }
    Step("cgroups", RemoveCgroups());
    Step("network", network::RemoveAll(PoolOptionsOf(config_)));
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

  Result<> RemoveVm(const std::string& id) {
    const std::string dir = config_.run_dir + "/vm/" + id;
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
        if (!sys::Exists(hierarchy.path + "/" + path + "/cgroup.procs")) continue;
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
  std::optional<base::Error> first_error_;
};

}  // namespace

Result<> CleanUp(const Config& config) {
  TRY(PrepareDirectories(config));
  const InstanceLock lock = TRY(InstanceLock::Take(config.run_dir));
  Cleaner cleaner(config);
  cleaner.Run();
  if (const auto& error = cleaner.first_error(); error) {
    return std::unexpected(base::Error(*error).WithContext("clean up"));
  }
  return {};
}

}  // namespace tinderbox::daemon
