// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "store/event_table.h"
#include "store/key_table.h"
#include "store/secret_table.h"

// The daemon's memory across restarts: one SQLite file (WAL, synchronous=FULL). Synchronous and
// safe from any thread (one connection, one mutex).
namespace tinderbox::store {

// One sandbox. `state` is one of sandbox/state.h's names. Times are milliseconds since the epoch.
struct SandboxRecord {
  std::string id;
  std::string state;
  std::string cause;  // why it is dead or failed, in words
  std::string template_id;
  std::string template_name;
  std::int64_t started_at = 0;
  std::int64_t end_at = 0;  // 0: no timeout
  std::uint32_t memory_mib = 0;
  std::uint32_t cpus = 0;
  std::uint64_t disk_mib = 0;
  std::map<std::string, std::string> metadata;
  std::map<std::string, std::string> env;
  std::string access_token;                // of the agent
  bool allow_internet = true;              // public addresses reachable from the guest
  std::vector<std::string> allow_out{};    // networks that are reachable all the same
  std::vector<std::string> deny_out{};     // networks that are not
  std::vector<std::string> allow_names{};  // host names that are reachable all the same
  // Name servers the guest may ask where there are such names; none: the daemon's configured ones.
  std::optional<std::vector<std::string>> dns_servers{};
  std::string transforms;  // JSON: what requests to which hosts get; empty: nothing
  struct EgressProxy {
    std::string address;  // "host:port"
    std::string username;
    std::string password;
    bool operator==(const EgressProxy&) const = default;
  };
  std::optional<EgressProxy> egress_proxy{};  // that connections go through
  bool network_pending = false;               // the rules above are not the kernel's yet
  std::string traffic_token;  // its ports are open to who bears it; empty: to everybody
  std::string mask_host;      // the Host that the guest's servers see; empty: the client's
  std::vector<std::uint16_t> https_ports{};            // of the guest, that speak TLS
  std::map<std::string, std::string> volume_mounts{};  // path in the guest → name of the volume
  std::string vmm;                                     // "qemu"
  std::string accelerator;                             // "tcg"
  std::string choice_reason;                           // why this VMM and accelerator
  std::uint32_t slot = 0;                              // network slot; 0: none
  std::uint32_t uid = 0;
  std::string run_dir;
  std::optional<int> exit_code;          // of the VMM, once it ended
  std::string exit_detail;               // "signal: killed by …"
  std::string timings;                   // JSON: stage → milliseconds
  std::string started_by;                // the last start: "boot", "restore", "pool"
  std::string on_timeout = "kill";       // or "pause"
  std::string auto_pause_mode = "full";  // or "filesystem"
  bool auto_resume = false;
  std::string pause_mode;         // while it is paused: "full" or "filesystem"; else empty
  bool agent_silent = false;      // its agent did not answer when it was paused
  std::string execution_id;       // of its present or last life: a UUID, new at every start
  std::int64_t execution_at = 0;  // when that began
  // Which process its VM is, whatever becomes of run_dir: the warden, by pid, start time (clock
  // ticks after boot) and boot. 0 and empty: it has no VM.
  std::int64_t warden_pid = 0;
  std::int64_t warden_start = 0;
  std::string boot_id;
};

// One volume: a directory that outlives sandboxes. See volume/volumes.h.
struct VolumeRecord {
  std::string id;
  std::string name;
  std::string token;  // whoever bears it may read and write its content
  std::int64_t created_at = 0;
  bool operator==(const VolumeRecord&) const = default;
};

class Store {
 public:
  virtual ~Store() = default;

  // kAlreadyExists for an id that is there.
  virtual base::Result<> InsertSandbox(const SandboxRecord& record) = 0;
  virtual base::Result<SandboxRecord> GetSandbox(std::string_view id) = 0;  // kNotFound
  virtual base::Result<std::vector<SandboxRecord>> ListSandboxes() = 0;
  // Replaces the whole record, if its state is still `expected_state`; kAborted otherwise. With it
  // goes the event that tells of it: both are there afterwards, or neither.
  virtual base::Result<> UpdateSandbox(const SandboxRecord& record, std::string_view expected_state,
                                       const std::optional<EventRecord>& event = {}) = 0;
  // Absence is success, and then there is no event.
  virtual base::Result<> DeleteSandbox(std::string_view id,
                                       const std::optional<EventRecord>& event = {}) = 0;
  // A sandbox's record as one JSON object, to be kept beside the sandbox's data. kNotFound.
  virtual base::Result<std::string> ExportSandbox(std::string_view id) = 0;
  // The record that ExportSandbox wrote, by this or an earlier version. Stores nothing. kDataLoss:
  // it cannot be read.
  virtual base::Result<SandboxRecord> ParseSandbox(const std::string& json) = 0;
  // An event that changes no record.
  virtual base::Result<> RecordEvent(const EventRecord& event) = 0;

  virtual base::Result<> InsertVolume(const VolumeRecord& volume) = 0;  // kAlreadyExists: the name
  virtual base::Result<std::vector<VolumeRecord>> ListVolumes() = 0;    // by name
  virtual base::Result<> DeleteVolume(std::string_view id) = 0;         // absence is success

  virtual KeyTable& Keys() = 0;
  virtual SecretTable& Secrets() = 0;
  virtual EventTable& Events() = 0;

  // Small values by name (schema of the daemon's own settings).
  virtual base::Result<std::optional<std::string>> GetSetting(std::string_view name) = 0;
  virtual base::Result<> SetSetting(std::string_view name, std::string_view value) = 0;
};

// Opens (or makes) the database and brings its schema up to date; 0600. A file that is no database,
// or of a newer version, is kDataLoss / kFailedPrecondition with the remedy.
base::Result<std::unique_ptr<Store>> OpenStore(const std::string& path);

}  // namespace tinderbox::store
