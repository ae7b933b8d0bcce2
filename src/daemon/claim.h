// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "daemon/config.h"
#include "daemon/instance_lock.h"
#include "sys/fd.h"

// A daemon's exclusive share of its host. Two daemons must not share any of it, and a daemon must
// not change it while sandboxes run.
namespace tinderbox::daemon {

inline constexpr char kClaimDirectory[] = "/run/tinderboxd.claims";

struct Claim {
  std::string state_id;  // of the state directory, see StateId
  std::string state_dir;
  std::string run_dir;
  std::string prefix;
  std::string cidr;
  std::string cgroup;
  std::int64_t first_uid = 0;
  std::int64_t last_uid = 0;
  std::int64_t pid = 0;
  // Earlier run directories, in which VMs may still run.
  std::vector<std::string> former_run_dirs{};
  bool operator==(const Claim&) const = default;
};

std::string ToJson(const Claim& claim);
base::Result<Claim> ParseClaim(const std::string& json);  // kDataLoss

Claim ClaimOf(const Config& config, const std::string& state_id);

// The id of a state directory: <state_dir>/state-id, made if it is not there.
base::Result<std::string> StateId(const std::string& state_dir);

// How many sandboxes' VMs live below <run_dir>/vm. VMs that belong to no sandbox yet do not count:
// those of the pool of ready VMs, which their files in <state_dir>/pool show.
std::size_t LiveVms(const std::string& run_dir, const std::string& state_dir);

// All that a daemon, or a command that works in its place, holds while it runs. Taken in this
// order, and nothing is changed if one cannot be had:
//   - the state directory, and the run directory (instance_lock.h);
//   - the run directory must not hold running VMs of another state directory;
//   - prefix, cidr, cgroup and uid range must be what they were if sandboxes run;
//   - no other daemon's prefix, cgroup or uid range, on this host and as long as it or one of its
//     VMs runs: claims are files below `directory`, each locked by its owner.
class HostClaim {
 public:
  // To clean up, the settings may have changed while sandboxes run: they are going to be ended.
  enum class Purpose { kServe, kCleanUp };
  static base::Result<HostClaim> Take(const Config& config, Purpose purpose,
                                      const std::string& directory = kClaimDirectory);
  // The claim of the previous daemon; equal to `claim` if there was none.
  const Claim& former() const { return former_; }
  const Claim& claim() const { return claim_; }
  // Everything was taken off the host: forgets the claim, and what the state directory knew of it.
  void Forget();

 private:
  HostClaim(InstanceLock state, InstanceLock run, Claim claim)
      : state_(std::move(state)), run_(std::move(run)), claim_(std::move(claim)) {}
  InstanceLock state_;
  InstanceLock run_;
  Claim claim_;
  Claim former_;
  std::string directory_;
  std::string path_;
  sys::UniqueFd file_;
};

}  // namespace tinderbox::daemon
