// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/deadline.h"
#include "base/error.h"
#include "sandbox/event.h"
#include "sandbox/network_rules.h"
#include "sandbox/state.h"
#include "sys/fd.h"

namespace tinderbox::image {
class Library;
}
namespace tinderbox::network {
class SlotPool;
}
namespace tinderbox::store {
class Store;
}

// Sandboxes and their lives: the one place that orchestrates image, network, vmm and store.
namespace tinderbox::sandbox {

// What happens to a sandbox whose time is over.
enum class TimeoutAction { kKill, kPause };
// What a pause keeps.
enum class PauseMode {
  kFull,        // memory and disk: resuming goes on where it stood
  kFilesystem,  // the disk alone: resuming is a cold boot
};
std::string_view PauseModeName(PauseMode mode);  // "full", "filesystem": E2B's words

// Who may use a sandbox's ports through the proxy, and how the proxy speaks to them; nothing of it
// is for the agent's port. Given at create, never changed.
struct PortAccess {
  // Requests must bear it; empty: everybody may. Made by the manager, each sandbox's its own.
  std::string traffic_token;
  // The Host that servers in the guest see, "${PORT}" standing for the port; empty: the client's.
  std::string mask_host;
  std::vector<std::uint16_t> https_ports;  // whose servers speak TLS
  bool operator==(const PortAccess&) const = default;
};

struct CreateRequest {
  std::string template_id;            // id or name of a template, or of a snapshot
  std::chrono::seconds timeout{300};  // ≤ 0 is kInvalidArgument; see kNoTimeout
  std::map<std::string, std::string> metadata;
  std::map<std::string, std::string> env;
  std::optional<std::uint32_t> memory_mib;  // default: the template's
  std::optional<std::uint32_t> cpus;
  NetworkRules network{};
  std::map<std::string, std::string> volume_mounts{};  // path in the guest → name of the volume
  TimeoutAction on_timeout = TimeoutAction::kKill;
  PauseMode auto_pause_mode = PauseMode::kFull;  // of the pause at its timeout
  bool auto_resume = false;  // traffic to the paused sandbox resumes it; kFull only
  bool cold = false;         // boots, even where a snapshot could be restored
  bool public_ports = true;  // false: they are for who bears PortAccess::traffic_token
  std::string mask_host;     // as in PortAccess
  std::vector<std::uint16_t> https_ports;
};

struct PauseRequest {
  PauseMode mode = PauseMode::kFull;
  // Refuse (kUnavailable; the sandbox runs on) where its agent does not answer. Otherwise it is
  // paused all the same, and SandboxInfo::agent_silent_at_pause says so; kFilesystem always demands
  // an agent that answers, since it has to write out what the guest has not yet.
  bool require_healthy = false;
};

struct ResumeRequest {
  std::optional<std::chrono::seconds> timeout;  // default: 300 s
  bool reboot = false;  // boots from the disk; what was in memory is dropped
  // Replace what the sandbox does at its timeout; none: as it was.
  std::optional<TimeoutAction> on_timeout;
};

struct ForkRequest {
  std::uint32_t count = 1;                      // 1-100
  std::optional<std::chrono::seconds> timeout;  // of the children; default 300 s
};

struct SnapshotOptions {
  // "name" or "name:tag" it can be created from besides by its id; empty: by its id alone. A name
  // that a snapshot has already goes over to the new one; a template's is kAlreadyExists.
  std::string name;
  PauseMode mode = PauseMode::kFull;
};

// What sandboxes can be created from, as seen from outside.
struct TemplateInfo {
  std::string id;
  std::vector<std::string> names;  // "base", "mine:v1"; empty for an unnamed snapshot
  bool is_snapshot = false;        // of a sandbox; else a template
  std::string source_sandbox;      // of a snapshot
  std::string parent;              // id of the template or snapshot that its source came from
  bool has_memory = false;         // is restored; else boots
  // Why its memory does not fit this host, so that it boots from its disk; empty where it fits.
  std::string misfit;
  std::uint32_t memory_mib = 0;
  std::uint32_t cpus = 0;
  std::uint64_t disk_mib = 0;
  std::uint64_t stored_bytes = 0;  // on disk, what is shared with others included
  std::string created_at;          // RFC 3339
  std::string vmm, vmm_version, accelerator, kernel;  // that its memory was taken of
  std::uint32_t sandboxes = 0;                        // made from it, and still there
  std::int64_t spawns = 0;                            // ever made from it
  std::int64_t last_spawned_at_ms = 0;                // when the last of these was made; 0: never
  bool ready = true;                                  // false: its first snapshot is being taken
};
inline constexpr std::chrono::seconds kNoTimeout = std::chrono::seconds::max();

// A sandbox as seen from outside; a copy, taken at one instant.
struct SandboxInfo {
  std::string id;
  State state = State::kCreating;
  std::string cause;
  // Running, but its VM is stopped: a write of its disk waits for free space on the host. It
  // continues by itself once there is some.
  bool no_space = false;
  std::string template_id;
  std::string template_name;
  std::int64_t started_at_ms = 0;
  std::int64_t end_at_ms = 0;  // 0: none
  std::uint32_t memory_mib = 0;
  std::uint32_t cpus = 0;
  std::uint64_t disk_mib = 0;
  std::map<std::string, std::string> metadata;
  std::string access_token;
  std::string vmm, vmm_version, accelerator, choice_reason;
  std::uint32_t slot = 0;
  std::uint32_t uid = 0;
  std::int64_t warden_pid = 0, vmm_pid = 0;  // 0 where not running
  std::string run_dir;                       // of its VM
  std::optional<int> exit_code;
  std::string exit_detail;
  std::vector<std::pair<std::string, double>> timings_ms;  // stages of the last start
  std::string started_by;  // the last start: "boot", "restore", or "pool" (restored ahead)
  TimeoutAction on_timeout = TimeoutAction::kKill;
  PauseMode auto_pause_mode = PauseMode::kFull;
  bool auto_resume = false;
  NetworkRules network;
  PortAccess ports;
  std::optional<PauseMode> pause_mode;               // while it is paused
  bool agent_silent_at_pause = false;                // its agent did not answer when it was paused
  std::map<std::string, std::string> volume_mounts;  // path in the guest → name of the volume
};

// All calls block (a create takes seconds where it boots) and are safe from any thread; the API
// runs them on its worker pool. Once begun, an operation finishes or undoes itself on its own
// deadline, whatever becomes of the caller.
class Manager {
 public:
  virtual ~Manager() = default;

  // Returns when the sandbox's agent has answered and its identity is set.
  virtual base::Result<SandboxInfo> Create(const CreateRequest& request) = 0;
  virtual base::Result<SandboxInfo> Get(std::string_view id) = 0;  // kNotFound
  virtual std::vector<SandboxInfo> List() = 0;
  // The one call that does not block, for the proxy's own thread: none where there is no such
  // sandbox. It is the same for all of a sandbox's life.
  virtual std::optional<PortAccess> Ports(std::string_view id) = 0;
  // Ends the VM, frees everything, forgets the sandbox. kNotFound where there is none; two at once:
  // one wins, the other is told kNotFound.
  virtual base::Result<> Kill(std::string_view id) = 0;
  // The end becomes now + timeout. kNotFound, kFailedPrecondition (not running).
  virtual base::Result<> SetTimeout(std::string_view id, std::chrono::seconds timeout) = 0;
  // Like SetTimeout, but never shortens.
  virtual base::Result<SandboxInfo> Extend(std::string_view id, std::chrono::seconds timeout) = 0;

  // Replaces the network rules: of a running sandbox at once, where tightening also cuts
  // connections that stand; of a paused one from its resume on. Forks inherit them. kNotFound;
  // kFailedPrecondition (neither running nor paused); kInvalidArgument (too many, or never
  // possible).
  virtual base::Result<> SetNetwork(std::string_view id, const NetworkRules& rules) = 0;

  // Keeps the sandbox and gives its memory and CPU back. kNotFound; kFailedPrecondition where it is
  // paused already, kAborted where it is ending; kUnavailable, or kResourceExhausted (disk full):
  // it could not be paused and runs on.
  virtual base::Result<> Pause(std::string_view id, const PauseRequest& request) = 0;
  // Goes on with a paused sandbox, under its id and access token. kFailedPrecondition where it
  // runs. kDataLoss: what was kept is damaged; it stays paused. Where its memory does not fit this
  // host any more it is kFailedPrecondition, and the remedy is ResumeRequest::reboot.
  virtual base::Result<SandboxInfo> Resume(std::string_view id, const ResumeRequest& request) = 0;
  // A running sandbox's end is extended; a paused one is resumed.
  struct Connected {
    SandboxInfo info;
    bool resumed = false;
  };
  virtual base::Result<Connected> Connect(std::string_view id, const ResumeRequest& request) = 0;
  // Children with the same memory and disk as this running sandbox, each with an id, token and
  // identity of its own. The source stands still only while its state is captured. One result per
  // child, in no order; the call itself fails where nothing could be captured.
  virtual base::Result<std::vector<base::Result<SandboxInfo>>> Fork(std::string_view id,
                                                                    const ForkRequest& request) = 0;
  // Keeps the state of a sandbox, running or paused, as something to create others from.
  virtual base::Result<TemplateInfo> Snapshot(std::string_view id,
                                              const SnapshotOptions& options) = 0;
  // In place: the sandbox goes on from `snapshot` (id or name, one that was taken of it), under its
  // own id, token and timeout. Until that is ready to run, nothing of the present state is lost.
  virtual base::Result<SandboxInfo> Rollback(std::string_view id, std::string_view snapshot) = 0;

  // Templates and snapshots, the newest first.
  virtual base::Result<std::vector<TemplateInfo>> Templates() = 0;
  virtual base::Result<TemplateInfo> GetTemplate(std::string_view id_or_name) = 0;  // kNotFound
  // kFailedPrecondition while sandboxes that were made from it exist. What others share with it
  // stays with them.
  virtual base::Result<> RemoveTemplate(std::string_view id_or_name) = 0;
  // Reads all of a template, a snapshot or a paused sandbox and compares it with its checksums:
  // kDataLoss names the file that differs.
  virtual base::Result<> Verify(std::string_view id_or_name) = 0;
  // Removes what can be made again or nobody can use: boot snapshots that no longer fit, remains of
  // what was interrupted. What was removed, in words, and how many bytes that freed.
  struct Pruned {
    std::vector<std::string> removed;
    std::uint64_t freed_bytes = 0;
  };
  virtual base::Result<Pruned> Prune() = 0;
  // What happened to sandboxes, those that are gone included, as far back as kKeepEvents.
  virtual base::Result<std::vector<Event>> Events(const EventRequest& request) = 0;
  // The VMs that are ready, of all templates together, and how many there should be now.
  struct PoolSize {
    std::size_t ready = 0;
    std::size_t target = 0;
  };
  virtual PoolSize Pool() { return {}; }

  // A non-blocking TCP connection to a port of the guest. kNotFound: no such running sandbox (the
  // proxy's 502 "not found"); kUnavailable: the guest refuses (502 "port is not open");
  // kResourceExhausted with ENOSPC: SandboxInfo::no_space (507). A paused
  // sandbox with auto_resume that was paused with its memory is resumed first, for at least 300 s,
  // and one that is changing state is waited for; either may take longer than `deadline`, which
  // governs the connection alone.
  virtual base::Result<sys::UniqueFd> Dial(std::string_view id, std::uint16_t port,
                                           base::Deadline deadline) = 0;
  virtual base::Result<std::string> Console(std::string_view id, std::size_t max_bytes) = 0;

  // Called with the id, on the manager's own thread, after a sandbox has stopped serving (killed,
  // expired, died): the proxy resets that sandbox's connections then. Set once, before traffic.
  virtual void OnGone(std::function<void(const std::string& id)> callback) = 0;

  // Takes up a sandbox that was lost, as a paused one. `fetch` moves its data to the path that it
  // gets; if it cannot be taken up then, the data goes back to lost+found. kAlreadyExists: the
  // sandbox exists; kNotFound: there is no record beside its data.
  using Fetch = std::function<base::Result<>(const std::string& to)>;
  virtual base::Result<SandboxInfo> Adopt(const std::string& id, const Fetch& fetch) {
    static_cast<void>(fetch);
    return base::Fail(base::Code::kUnimplemented, "adopt sandbox '" + id + "'");
  }

  // Lines for people: what recovery found at start.
  virtual std::vector<std::string> RecoveryReport() = 0;
};

struct HostInfo {
  std::string vmm, vmm_version, vmm_binary, accelerator;
  bool runs_linux = false;
  std::string choice_reason;  // why this VMM and accelerator
  std::string isolation;      // "hardware" or "emulation (weaker)"
};

}  // namespace tinderbox::sandbox
