// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/deadline.h"
#include "base/error.h"
#include "sys/fd.h"

// Control groups, of version 2 and of version 1, also both at once: many hosts still have the
// controllers on v1 and an empty v2 hierarchy beside them.
namespace tinderbox::sys {

// One mounted hierarchy that matters here.
struct CgroupHierarchy {
  bool v2 = false;
  std::string path;                      // where it is mounted
  std::vector<std::string> controllers;  // v1: those of the mount; v2: those of cgroup.controllers

  bool operator==(const CgroupHierarchy&) const = default;
};

// The host's hierarchies that hold memory, cpu or pids; v2 also where no v1 hierarchy does. (A v2
// hierarchy without controllers beside v1 is left out: a group in it would cost time and limit
// nothing.) Looked up once per process, since they do not move while a host is up.
const std::vector<CgroupHierarchy>& HostCgroups();
// Those of `all` that HostCgroups would keep.
std::vector<CgroupHierarchy> UsefulCgroups(std::vector<CgroupHierarchy> all);
// The same out of the text of /proc/self/mountinfo; v2's controllers are left empty.
std::vector<CgroupHierarchy> ParseCgroupMounts(std::string_view mountinfo);

struct CgroupSettings {
  std::uint64_t memory_bytes = 0;  // 0: no limit, as below
  double cpus = 0;
  std::uint32_t pids = 0;
};

// True for 1-4 components of [A-Za-z0-9._-], separated by '/', none of them "." or "..".
bool IsValidCgroupName(std::string_view name);

// One group of processes, under one name in every hierarchy. Not an owner of the kernel's object:
// it stays until Remove().
class Cgroup {
 public:
  // Makes the group, with the groups above it that are missing, and sets the limits. Limits that
  // this host cannot enforce are told in missing_limits(). On failure nothing new is left.
  // kAlreadyExists where the group is there already: its limits would be somebody else's.
  static base::Result<Cgroup> Create(const std::vector<CgroupHierarchy>& hierarchies,
                                     const std::string& name, const CgroupSettings& settings);

  // For the child: v1 files to write "0" to (one per hierarchy), and v2's directory for
  // SpawnSpec::cgroup_fd (invalid where the host has no v2).
  const std::vector<UniqueFd>& join_files() const { return join_files_; }
  const UniqueFd& v2_directory() const { return v2_directory_; }
  const std::vector<std::string>& missing_limits() const { return missing_limits_; }

  // Undoes Create altogether, the groups above included that it made.
  base::Result<> Undo(base::Deadline deadline);

 private:
  friend class CgroupBuilder;
  std::vector<UniqueFd> join_files_;
  UniqueFd v2_directory_;
  std::vector<std::string> missing_limits_;
  struct Directory {
    std::string path;
    bool leaf;  // the group itself, not one above it
  };
  std::vector<Directory> created_;  // in order of creation
};

// Removes the group of `name` from every hierarchy; absence is success. A group that is still
// emptying itself is tried again until `deadline`; then kFailedPrecondition.
base::Result<> RemoveCgroup(const std::vector<CgroupHierarchy>& hierarchies,
                            const std::string& name, base::Deadline deadline);

// Kills everything in the group at once (cgroup.kill); true where the host has v2 and it was done.
bool KillCgroup(const std::vector<CgroupHierarchy>& hierarchies, const std::string& name);

}  // namespace tinderbox::sys
