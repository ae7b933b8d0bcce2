// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "api/host_view.h"
#include "daemon/config.h"
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
  boost::json::object SandboxPaths(const sandbox::SandboxInfo& info) override;

 private:
  const Config& config_;
  System& system_;
  std::uint16_t port_ = 0;
  const std::int64_t started_at_ms_;
};

}  // namespace tinderbox::daemon
