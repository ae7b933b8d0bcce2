// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "base/error.h"
#include "net/http_server.h"
#include "sys/fd.h"

namespace tinderbox::agent {

struct AgentState;

// Carries the messages of one FUSE mount between the guest's kernel and the host, which serves it,
// whatever they say. Two threads of its own: the agent's one thread may itself wait for a file of
// this mount. Where the connection ends the mount is dead: everything in it fails at once, and
// nothing waits.
class FuseRelay {
 public:
  FuseRelay(sys::UniqueFd device, sys::UniqueFd connection);
  ~FuseRelay();  // ends the connection, and thereby the mount's life
  FuseRelay(const FuseRelay&) = delete;
  FuseRelay& operator=(const FuseRelay&) = delete;

 private:
  void ToHost();
  void ToKernel();
  void End();

  sys::UniqueFd device_;
  sys::UniqueFd connection_;
  sys::UniqueFd stop_;  // an eventfd
  std::atomic<int> running_ = 2;
  std::thread to_host_;
  std::thread to_kernel_;
};

// The volumes that the host has mounted in this guest, by path. One per agent, on its thread.
class Volumes {
 public:
  // POST /volume?path=PATH&name=NAME, with "Upgrade: fuse": mounts at PATH, which is made where it
  // is missing, in the place of what was mounted there before; the connection then carries FUSE's
  // messages. For the host alone.
  net::Task<> Serve(net::Exchange& exchange, const AgentState& state);
  // Takes all mounts away. Whoever is in one stays there, and finds that nothing works any more.
  void DetachAll();

 private:
  void Detach(const std::string& path);

  std::map<std::string, std::unique_ptr<FuseRelay>> mounts_;
};

}  // namespace tinderbox::agent
