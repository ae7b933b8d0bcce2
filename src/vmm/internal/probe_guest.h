// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

#include "vmm/probe.h"

namespace tinderbox::vmm::internal {

// What the probe's child process tells its parent, in memory that both share: it must still be
// there when the child had to be killed. Plain old data; fields are written once, `stage` grows.
struct ProbePage {
  std::atomic<int> open_errno;
  std::atomic<int> api_version;
  std::atomic<std::uint32_t> missing;    // bit i: kNeededCapabilities[i] is not there
  std::atomic<const char*> failed_call;  // a string literal: the child is a fork, so it is ours too
  std::atomic<int> call_errno;
  std::atomic<int> stage;
  std::atomic<std::uint32_t> exit_reason;
  std::atomic<std::uint64_t> short_loop_ns;
  std::atomic<std::uint64_t> long_loop_ns;
};

// Capabilities that Firecracker asks for; QEMU wants no more. Index = bit in ProbePage::missing.
struct NeededCapability {
  int number;
  const char* name;
};
inline constexpr int kNeededCapabilityCount = 14;
extern const NeededCapability kNeededCapabilities[kNeededCapabilityCount];

// Instructions in the two loops.
inline constexpr std::uint64_t kShortLoopInstructions = 20'000;
inline constexpr std::uint64_t kLongLoopInstructions = 2'000'000;
// A short loop slower than this is not followed by the long one, which would take its hundredfold.
inline constexpr std::uint64_t kShortLoopLimitNs = 1'000'000;

// Makes a VM, runs the guest through all stages and fills `page` in. System calls only (it runs in
// the child of a fork of a program with threads); never returns an error: `page` has it.
void RunProbeGuest(ProbePage& page);

}  // namespace tinderbox::vmm::internal
