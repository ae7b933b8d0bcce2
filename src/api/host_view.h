// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "sandbox/manager.h"

namespace tinderbox::api {

// One line of `doctor`.
struct Check {
  std::string name;
  std::string status;  // "ok", "warn", "fail"
  std::string detail;
  std::string remedy;  // a sentence, where status is not "ok"
};

struct TemplateView {
  std::string id;
  std::string name;
  std::uint32_t cpus = 0;
  std::uint32_t memory_mib = 0;
  std::uint64_t disk_mib = 0;
  std::string created_at;  // RFC 3339
};

// What the API tells about the host; the daemon knows it. Called on worker threads; may block.
class HostView {
 public:
  virtual ~HostView() = default;
  virtual boost::json::object Info() = 0;
  virtual std::vector<Check> Doctor() = 0;
  virtual base::Result<std::vector<TemplateView>> Templates() = 0;
  // Where the things of a sandbox stand on the host: runDir, cgroup, netns, …
  virtual boost::json::object SandboxPaths(const sandbox::SandboxInfo& info) = 0;
};

}  // namespace tinderbox::api
