// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
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

// What the API tells about the host; the daemon knows it. Called on worker threads; may block.
class HostView {
 public:
  virtual ~HostView() = default;
  virtual boost::json::object Info() = 0;
  virtual std::vector<Check> Doctor() = 0;
  // The entries of lost+found: {name, kind, id, label, why, lostAt, path} each.
  virtual base::Result<boost::json::array> Lost() = 0;
  // Takes an entry up again, a volume under the name `as` if that is not empty: {kind, id, label}.
  virtual base::Result<boost::json::object> AdoptLost(const std::string& name,
                                                      const std::string& as) = 0;
  virtual base::Result<> RemoveLost(const std::string& name) = 0;
  // Where the things of a sandbox stand on the host: runDir, cgroup, netns, …
  virtual boost::json::object SandboxPaths(const sandbox::SandboxInfo& info) = 0;
};

}  // namespace tinderbox::api
