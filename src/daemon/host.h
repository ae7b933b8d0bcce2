// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "api/host_view.h"
#include "daemon/config.h"
#include "daemon/recover.h"
#include "daemon/wire.h"

namespace tinderbox::daemon {

// What the daemon tells about itself and its host. Safe from any thread, once SetPort was called.
class Host final : public api::HostView {
 public:
  Host(const Config& config, System& system);
  // The TCP port that was taken; 0: none.
  void SetPort(std::uint16_t port) { port_ = port; }

  boost::json::object Info() override;
  std::vector<api::Check> Doctor() override;
  base::Result<boost::json::array> Lost() override { return recovery_.List(); }
  base::Result<boost::json::object> AdoptLost(const std::string& name,
                                              const std::string& as) override {
    return recovery_.Adopt(name, as);
  }
  base::Result<> RemoveLost(const std::string& name) override { return recovery_.Remove(name); }
  boost::json::object SandboxPaths(const sandbox::SandboxInfo& info) override;

 private:
  const Config& config_;
  System& system_;
  Recovery recovery_{system_};
  std::uint16_t port_ = 0;
  const std::int64_t started_at_ms_;
};

}  // namespace tinderbox::daemon
