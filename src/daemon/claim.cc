// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "daemon/claim.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <utility>

#include "base/id.h"
#include "base/log.h"
#include "daemon/ballast.h"
#include "daemon/wire.h"
#include "sandbox/lost.h"
#include "sys/directory.h"
#include "sys/file.h"

namespace tinderbox::daemon {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::size_t kMaxFile = 1 << 20;

// Records the last daemon that used the state directory.
std::string LastPath(const std::string& state_dir) { return state_dir + "/host.json"; }
// Whose VMs a run directory holds: "<state id> <state_dir>".
std::string OwnerPath(const std::string& run_dir) { return run_dir + "/state-id"; }

std::unexpected<base::Error> Refuse(std::string message, std::string remedy) {
  return std::unexpected(
      base::Error(Code::kFailedPrecondition, std::move(message)).WithRemedy(std::move(remedy)));
}

Result<> CheckRunDir(const Claim& claim) {
  const std::string owner = sys::ReadFile(OwnerPath(claim.run_dir), kMaxFile).value_or("");
  const auto space = owner.find(' ');
  if (space == std::string::npos || owner.substr(0, space) == claim.state_id) return {};
  std::string other = owner.substr(space + 1);
  while (!other.empty() && other.back() == '\n') other.pop_back();
  const std::size_t live = LiveVms(claim.run_dir, other);
  if (live == 0) return {};
  return Refuse(
      fmt::format("run_dir '{}' holds {} running sandboxes of state_dir '{}'; nothing was "
                  "changed",
                  claim.run_dir, live, other),
      fmt::format("Set state_dir to '{}', or another run_dir.", other));
}

// The first of the settings that must not change while sandboxes run, in words; empty: none has.
std::string Changed(const Claim& before, const Claim& now) {
  const auto changed = [](std::string_view key, const auto& was, const auto& is) {
    return was == is ? std::string() : fmt::format("{} from '{}' to '{}'", key, was, is);
  };
  for (std::string each : {changed("network.prefix", before.prefix, now.prefix),
                           changed("network.cidr", before.cidr, now.cidr),
                           changed("limits.cgroup", before.cgroup, now.cgroup),
                           changed("limits.uid_base", before.first_uid, now.first_uid)}) {
    if (!each.empty()) return each;
  }
  return {};
}

Result<> CheckChanges(const Claim& before, const Claim& now) {
  const std::string changed = Changed(before, now);
  if (changed.empty()) return {};
  std::size_t live = LiveVms(before.run_dir, now.state_dir);
  for (const std::string& former : before.former_run_dirs) live += LiveVms(former, now.state_dir);
  if (live == 0) return {};
  return Refuse(
      fmt::format("cannot change {} while {} sandboxes run; nothing was changed", changed, live),
      "Set it back, start the daemon, and remove or pause the sandboxes first.");
}

Result<> CheckOther(const Claim& other, const Claim& mine, bool runs) {
  std::string shared;
  if (other.prefix == mine.prefix) shared = fmt::format("network.prefix '{}'", mine.prefix);
  if (other.cgroup == mine.cgroup) shared = fmt::format("limits.cgroup '{}'", mine.cgroup);
  if (other.first_uid <= mine.last_uid && mine.first_uid <= other.last_uid) {
    shared = fmt::format("uids {} to {} (limits.uid_base, limits.sandboxes)",
                         std::max(other.first_uid, mine.first_uid),
                         std::min(other.last_uid, mine.last_uid));
  }
  if (shared.empty()) return {};
  const std::string who = runs ? DescribeProcess(std::to_string(other.pid))
                               : std::string("a daemon that is stopped, whose sandboxes run");
  return Refuse(fmt::format("{} is used by another tinderboxd: {}, state_dir '{}'; nothing was "
                            "changed",
                            shared, who, other.state_dir),
                "Set another value in the configuration of one of them.");
}

// One daemon looks at the claims at a time.
Result<sys::UniqueFd> LockClaims(const std::string& directory) {
  while (true) {
    TRY(sys::MakeDirs(directory, 0700));
    auto lock = TRY(sys::Open(directory + "/.lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
    if (flock(lock.get(), LOCK_EX) != 0) return FailErrno(errno, "lock the claims of daemons");
    struct stat st{};
    if (::fstat(lock.get(), &st) != 0) return FailErrno(errno, "stat the claims' lock");
    // Another has removed it, with the directory, while we waited.
    if (st.st_nlink > 0) return lock;
  }
}

// Drops the earlier run directories that are empty or belong to another daemon.
void KeepOurs(Claim& claim) {
  std::vector<std::string> kept;
  for (const std::string& dir : claim.former_run_dirs) {
    const std::string owner = sys::ReadFile(OwnerPath(dir), kMaxFile).value_or("");
    const auto vms = sys::NamesIn(dir + "/vm");
    const bool ours = owner.starts_with(claim.state_id + " ") && vms && !vms->empty();
    const bool again = dir == claim.run_dir || std::ranges::find(kept, dir) != kept.end();
    if (ours && !again) kept.push_back(dir);
  }
  claim.former_run_dirs = std::move(kept);
}

// Against all other claims that count. The caller holds the lock of `directory`. The prefix that
// `former` names is not ours any more if another has it now.
Result<> CheckOthers(const std::string& directory, const Claim& mine, Claim& former) {
  for (const std::string& name : TRY(sys::NamesIn(directory))) {
    if (name == mine.state_id || name.starts_with('.')) continue;
    const std::string path = directory + "/" + name;
    const auto file = sys::Open(path, O_RDWR | O_NOFOLLOW);
    if (!file) continue;
    const bool runs = flock(file->get(), LOCK_EX | LOCK_NB) != 0;
    const auto other = ParseClaim(sys::ReadAll(*file, kMaxFile).value_or(""));
    if (!other) {
      base::LogWarning("ignoring the claim of another daemon",
                       {{"file", path}, {"error", other.error().ToString()}});
      continue;
    }
    if (!runs) {
      std::size_t live = LiveVms(other->run_dir, other->state_dir);
      for (const std::string& dir : other->former_run_dirs) {
        live += LiveVms(dir, other->state_dir);
      }
      if (live == 0) continue;
    }
    if (other->prefix == former.prefix) former.prefix = mine.prefix;
    TRY(CheckOther(*other, mine, runs));
  }
  return {};
}

}  // namespace

std::string ToJson(const Claim& claim) {
  return boost::json::serialize(boost::json::object{
      {"stateId", claim.state_id},
      {"stateDir", claim.state_dir},
      {"runDir", claim.run_dir},
      {"prefix", claim.prefix},
      {"cidr", claim.cidr},
      {"cgroup", claim.cgroup},
      {"firstUid", claim.first_uid},
      {"lastUid", claim.last_uid},
      {"pid", claim.pid},
      {"formerRunDirs",
       boost::json::array(claim.former_run_dirs.begin(), claim.former_run_dirs.end())}});
}

Result<Claim> ParseClaim(const std::string& json) {
  boost::system::error_code error;
  const auto value = boost::json::parse(json, error);
  if (error || !value.is_object()) return Fail(Code::kDataLoss, "read a claim: not a JSON object");
  const boost::json::object& object = value.as_object();
  const auto text = [&object](std::string_view key) {
    const auto* member = object.if_contains(key);
    return member != nullptr && member->is_string() ? std::string(member->as_string()) : "";
  };
  const auto number = [&object](std::string_view key) -> std::int64_t {
    const auto* member = object.if_contains(key);
    return member != nullptr && member->is_int64() ? member->as_int64() : 0;
  };
  Claim claim{.state_id = text("stateId"),
              .state_dir = text("stateDir"),
              .run_dir = text("runDir"),
              .prefix = text("prefix"),
              .cidr = text("cidr"),
              .cgroup = text("cgroup"),
              .first_uid = number("firstUid"),
              .last_uid = number("lastUid"),
              .pid = number("pid")};
  if (const auto* former = object.if_contains("formerRunDirs"); former && former->is_array()) {
    for (const auto& each : former->as_array()) {
      if (each.is_string()) claim.former_run_dirs.emplace_back(each.as_string());
    }
  }
  if (claim.state_id.empty() || claim.run_dir.empty()) {
    return Fail(Code::kDataLoss, "read a claim: a field is missing");
  }
  return claim;
}

Claim ClaimOf(const Config& config, const std::string& state_id) {
  const network::PoolOptions slots = PoolOptionsOf(config);
  return {.state_id = state_id,
          .state_dir = config.state_dir,
          .run_dir = config.run_dir,
          .prefix = config.network.prefix,
          .cidr = config.network.cidr,
          .cgroup = config.limits.cgroup,
          .first_uid = std::int64_t{slots.uid_base} + 1,
          .last_uid = std::int64_t{slots.uid_base} + slots.max_slots,
          .pid = ::getpid()};
}

Result<std::string> StateId(const std::string& state_dir) {
  const std::string path = state_dir + "/state-id";
  std::string id = sys::ReadFile(path, 64).value_or("");
  while (!id.empty() && id.back() == '\n') id.pop_back();
  const bool hex = std::ranges::all_of(
      id, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  if (id.size() == 32 && hex) return id;
  id = base::RandomHex(16);
  TRY(sys::WriteFileAtomic(path, id + "\n", 0600));
  return id;
}

std::size_t LiveVms(const std::string& run_dir, const std::string& state_dir) {
  std::size_t live = 0;
  for (const std::string& id : sys::NamesIn(run_dir + "/vm").value_or(std::vector<std::string>{})) {
    if (sys::Exists(fmt::format("{}/pool/sandboxes/{}/ephemeral", state_dir, id))) continue;
    if (sandbox::VmLives(fmt::format("{}/vm/{}", run_dir, id))) ++live;
  }
  return live;
}

Result<HostClaim> HostClaim::Take(const Config& config, Purpose purpose,
                                  const std::string& directory) {
  InstanceLock state = TRY(InstanceLock::Take(config.state_dir, InstanceLock::Of::kStateDir));
  InstanceLock run = TRY(InstanceLock::Take(config.run_dir, InstanceLock::Of::kRunDir));
  UseBallastIfFull(config.state_dir);  // what follows writes there
  HostClaim taken(std::move(state), std::move(run),
                  ClaimOf(config, TRY(StateId(config.state_dir))));
  Claim& claim = taken.claim_;
  TRY(CheckRunDir(claim));
  const auto last = sys::ReadFile(LastPath(config.state_dir), kMaxFile);
  const auto before = ParseClaim(last.value_or(""));
  taken.former_ = before ? *before : claim;
  if (purpose == Purpose::kServe) TRY(CheckChanges(taken.former_, claim));
  claim.former_run_dirs = taken.former_.former_run_dirs;
  if (taken.former_.run_dir != claim.run_dir) {
    claim.former_run_dirs.push_back(taken.former_.run_dir);
  }
  KeepOurs(claim);

  const auto lock = TRY(LockClaims(directory));
  TRY(CheckOthers(directory, claim, taken.former_));
  taken.directory_ = directory;
  taken.path_ = directory + "/" + claim.state_id;
  taken.file_ = TRY(sys::Open(taken.path_, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (flock(taken.file_.get(), LOCK_EX | LOCK_NB) != 0) {
    return FailErrno(errno, fmt::format("lock '{}'", taken.path_));
  }
  if (::ftruncate(taken.file_.get(), 0) != 0) {
    return FailErrno(errno, fmt::format("write '{}'", taken.path_));
  }
  TRY(sys::WriteAll(taken.file_, ToJson(claim)));
  TRY(sys::WriteFileAtomic(LastPath(config.state_dir), ToJson(claim), 0600));
  TRY(sys::WriteFileAtomic(OwnerPath(config.run_dir),
                           fmt::format("{} {}\n", claim.state_id, claim.state_dir), 0600));
  return taken;
}

void HostClaim::Forget() {
  static_cast<void>(sys::RemoveFile(LastPath(claim_.state_dir)));
  static_cast<void>(sys::RemoveFile(OwnerPath(claim_.run_dir)));
  for (const std::string& former : claim_.former_run_dirs) {
    static_cast<void>(sys::RemoveFile(OwnerPath(former)));
  }
  const auto lock = LockClaims(directory_);
  if (!lock) return;
  static_cast<void>(sys::RemoveFile(path_));
  if (const auto left = sys::NamesIn(directory_); left && left->size() == 1) {
    static_cast<void>(sys::RemoveFile(directory_ + "/.lock"));
    static_cast<void>(::rmdir(directory_.c_str()));
  }
}

}  // namespace tinderbox::daemon
