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

struct CreateRequest {
  std::string template_id;            // id or name
  std::chrono::seconds timeout{300};  // ≤ 0 is kInvalidArgument; see kNoTimeout
  std::map<std::string, std::string> metadata;
  std::map<std::string, std::string> env;
  std::optional<std::uint32_t> memory_mib;  // default: the template's
  std::optional<std::uint32_t> cpus;
  bool allow_internet = true;
  std::string options_json;  // kept verbatim for the API's detail answers
};
inline constexpr std::chrono::seconds kNoTimeout = std::chrono::seconds::max();

// A sandbox as seen from outside; a copy, taken at one instant.
struct SandboxInfo {
  std::string id;
  State state = State::kCreating;
  std::string cause;
  std::string template_id;
  std::string template_name;
  std::int64_t started_at_ms = 0;
  std::int64_t end_at_ms = 0;  // 0: none
  std::uint32_t memory_mib = 0;
  std::uint32_t cpus = 0;
  std::uint64_t disk_mib = 0;
  std::map<std::string, std::string> metadata;
  std::string access_token;
  std::string options_json;
  std::string vmm, vmm_version, accelerator, choice_reason;
  std::uint32_t slot = 0;
  std::uint32_t uid = 0;
  std::int64_t warden_pid = 0, vmm_pid = 0;  // 0 where not running
  std::optional<int> exit_code;
  std::string exit_detail;
  std::vector<std::pair<std::string, double>> timings_ms;  // stages of the last start
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
  // Ends the VM, frees everything, forgets the sandbox. kNotFound where there is none; two at once:
  // one wins, the other is told kNotFound.
  virtual base::Result<> Kill(std::string_view id) = 0;
  // The end becomes now + timeout. kNotFound, kFailedPrecondition (not running).
  virtual base::Result<> SetTimeout(std::string_view id, std::chrono::seconds timeout) = 0;
  // Like SetTimeout, but never shortens.
  virtual base::Result<SandboxInfo> Extend(std::string_view id, std::chrono::seconds timeout) = 0;

  // A non-blocking TCP connection to a port of the guest. kNotFound: no such running sandbox (the
  // proxy's 502 "not found"); kUnavailable: the guest refuses (502 "port is not open").
  virtual base::Result<sys::UniqueFd> Dial(std::string_view id, std::uint16_t port,
                                           base::Deadline deadline) = 0;
  virtual base::Result<std::string> Console(std::string_view id, std::size_t max_bytes) = 0;

  // Called with the id, on the manager's own thread, after a sandbox has stopped serving (killed,
  // expired, died): the proxy resets that sandbox's connections then. Set once, before traffic.
  virtual void OnGone(std::function<void(const std::string& id)> callback) = 0;

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
