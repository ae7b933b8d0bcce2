// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "vmm/disk_limits.h"
#include "vmm/driver.h"
#include "vmm/probe.h"

// Which VMM runs the sandboxes of this host, and why.
namespace tinderbox::vmm {

enum class VmmWish { kAuto, kFirecracker, kQemu };
// "auto", "firecracker", "qemu"; kInvalidArgument for anything else.
base::Result<VmmWish> ParseVmmWish(std::string_view text);

struct ChoiceConfig {
  VmmWish vmm = VmmWish::kAuto;
  std::string firecracker;  // paths of the programs; empty: looked for
  std::string qemu;
  std::string warden;
  DiskLimits disk;  // of each VM
};

struct Choice {
  std::unique_ptr<Driver> driver;
  std::string reason;  // for people: "/dev/kvm runs guests in software, at 1.7 …: QEMU with TCG …"
  KvmReport kvm;
};

// Probes KVM, looks for the programs, opens the driver. `auto`: Firecracker where KVM is whole and
// a usable Firecracker is there, else QEMU, with KVM where it is whole and emulating (TCG) where
// not. A VMM that is asked for by name is taken or refused, never replaced: `firecracker` on a slow
// KVM is allowed, and runs tiny guests only (Capabilities::runs_linux). Blocks up to a second.
base::Result<Choice> ChooseDriver(const ChoiceConfig& config);

// The decision alone.
struct Decision {
  bool firecracker = false;
  std::string reason;
  bool operator==(const Decision&) const = default;
};
struct Offer {
  KvmReport kvm;
  bool has_firecracker = false;
  bool has_qemu = false;
};
base::Result<Decision> Decide(VmmWish wish, const Offer& offer);

}  // namespace tinderbox::vmm
