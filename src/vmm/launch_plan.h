// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/error.h"
#include "vmm/launcher.h"
#include "warden/protocol.h"

// From a LaunchSpec to the message that the warden gets.
namespace tinderbox::vmm {

// Whether `spec` can be launched at all, by its own content: no look at the host.
base::Result<> ValidateLaunchSpec(const LaunchSpec& spec);

// Where the VMM's binary stands in the jail: at its own path if one of the binds has it there
// already, else at /vmm, by a bind of its own (which AllBinds adds).
std::string VmmPathInJail(const LaunchSpec& spec);
std::vector<JailBind> AllBinds(const LaunchSpec& spec);

// The device nodes that the jail's /dev gets: null and urandom always, kvm and net/tun where the
// spec asks for them and the host has them.
std::vector<warden::Device> JailDevices(const LaunchSpec& spec);

struct PlanParts {
  std::size_t cgroup_count = 0;
  std::vector<warden::Device> devices;
  std::vector<JailBind> binds;
  std::vector<bool> bind_is_directory;  // one for each of binds
  std::uint64_t writable_bytes = 0;     // size of the largest file that is bound writable
  std::string fail_at;
};

// The message's bytes; see warden/protocol.h for the descriptors that go with it. kInvalidArgument
// where it is larger than the warden takes.
base::Result<std::vector<std::byte>> EncodePlan(const LaunchSpec& spec, const PlanParts& parts);

}  // namespace tinderbox::vmm
