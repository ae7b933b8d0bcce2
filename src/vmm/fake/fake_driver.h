// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "vmm/driver.h"
#include "vmm/host_facts.h"

// A driver whose VMM is fake_vmm.cc: a small program that runs in the real jail, under the real
// warden, and speaks a VMM's protocol with whatever faults its script tells. It is the code of a
// real driver that talks to it, so that a fault shows what that driver does.
//
// The script is the file given as VmSpec::initrd, one directive a line:
//   guest hello|spin|counter|crash        what the "guest" does once started (default: hello)
//   deaf                                  SIGTERM does nothing
//   fault WHERE WHAT                      what goes wrong
// WHERE: "listen" (before the socket is made), or a request: Firecracker's path ("/machine-config",
//   "/boot-source", "/entropy", "/actions", "/vm", "/"), QMP's "greeting", "qmp_capabilities",
//   "cont", "stop", "query-status".
// WHAT: see kFaultNames in fake_vmm.cc.
namespace tinderbox::vmm::fake {

enum class Protocol { kFirecracker, kQmp };

struct Programs {
  std::string fake_vmm;  // static
  std::string warden;
};

std::unique_ptr<Driver> MakeDriver(Protocol protocol, const Programs& programs, HostFacts host);

}  // namespace tinderbox::vmm::fake
