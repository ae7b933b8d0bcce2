// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>

#include "base/deadline.h"
#include "base/error.h"
#include "net/http_client.h"
#include "network/slot_pool.h"
#include "vmm/launcher.h"

namespace tinderbox::sandbox {

inline constexpr std::uint16_t kAgentPort = 49983;

// What the host tells the agent before a sandbox is handed out (POST /init).
struct Identity {
  std::string access_token;  // empty: the agent serves without one
  std::map<std::string, std::string> env;
  std::string sandbox_id;
  std::string template_id;
  std::string default_user;
  std::string default_workdir;
  std::string authority;  // a certificate (PEM) to trust besides its own; empty: none
  // The guest is that sandbox already (it was paused): only what time and a second life of the same
  // memory make wrong is set, its clock and its random numbers.
  bool known = false;
};

// The daemon's own line to the agent in one guest. Whatever answers there is hostile: every answer
// is bounded in size and time.
class AgentLink {
 public:
  AgentLink(network::SlotPool& slots, std::uint32_t slot) : slots_(slots), slot_(slot) {}

  // Waits for the agent's first answer. Fails early, with the VM's exit and the end of its console,
  // where the VM dies first.
  base::Result<> AwaitHealth(vmm::LaunchedVm& vm, base::Deadline deadline) const;
  // Sets clock, random seed, host name, machine id, token and environment, as soon as the agent
  // answers. `demanded` is the token that it knows already (a restored one's); empty: none.
  base::Result<> AwaitInit(vmm::LaunchedVm& vm, const Identity& identity,
                           const std::string& demanded, base::Deadline deadline) const;
  // Has the guest trust that certificate authority (PEM).
  base::Result<> Trust(const std::string& token, const std::string& authority,
                       base::Deadline deadline) const;
  // Whether it answers now.
  bool Answers(base::Deadline deadline) const;
  // Has the guest write out all that it holds, and stops its file system from changing, until
  // GoOn or AwaitInit. The agent itself lets it go on after 30 s.
  base::Result<> FreezeFilesystem(const std::string& token, base::Deadline deadline) const;
  // Stops all of the guest's processes but the agent, until GoOn or AwaitInit. A copy of the guest
  // that is made meanwhile runs none of them before its clock, random numbers and identity are its
  // own. The agent itself lets them go on after kFrozenFor, with new random numbers.
  // kUnimplemented: an agent from before there was this.
  base::Result<> FreezeProcesses(const std::string& token, base::Deadline deadline) const;
  static constexpr std::chrono::seconds kFrozenFor{30};
  // The guest is the same one as before it was frozen, and goes on, with the present time and new
  // random numbers. Does no harm to a guest that was not frozen.
  base::Result<> GoOn(const std::string& token, base::Deadline deadline) const;
  // Does once what every sandbox will do first: an identity (a placeholder's) is set, and a shell
  // run that does nothing. What that has to fetch from disk, to fault in and (under emulation) to
  // translate is there afterwards. Only before there is a token.
  base::Result<> WarmUp(vmm::LaunchedVm& vm, base::Deadline deadline) const;
  // Has Python in the guest's page cache, where the image has one; likewise.
  base::Result<> WarmUpLanguage(base::Deadline deadline) const;

 private:
  base::Result<> SetClock(const std::string& token, base::Deadline deadline) const;
  base::Result<> Init(const std::string& body, const std::string& token, std::string_view what,
                      base::Deadline deadline) const;
  base::Result<> RunShell(const std::string& command, base::Deadline deadline) const;
  base::Result<net::HttpResponse> Call(const std::string& target, const std::string& token,
                                       base::Deadline deadline) const;

  network::SlotPool& slots_;
  std::uint32_t slot_;
};

// The body of POST /init, with a fresh random seed and the present time. Exposed for its test.
std::string InitBody(const Identity& identity);

}  // namespace tinderbox::sandbox
