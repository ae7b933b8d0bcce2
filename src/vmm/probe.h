// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

// Is KVM here worth anything? A /dev/kvm that opens says little: some hosts serve it in software,
// run tiny guests at a million instructions a second and fail on what Linux needs. So we run a few
// hundred bytes of guest code of our own and measure.
namespace tinderbox::vmm {

struct KvmReport {
  enum class Verdict {
    kAbsent,    // there is no /dev/kvm
    kUnusable,  // it is there, but no VM can be made with it
    kSlow,      // tiny guests run; an unmodified Linux does not, or not in reasonable time
    kWhole,     // runs guests at native speed with the instructions that Linux needs
  };
  Verdict verdict = Verdict::kAbsent;
  std::string detail;  // why, in words for people, fit to follow "KVM: "
  double mips = 0;     // million instructions a second in a tight loop; 0 if it never ran

  bool operator==(const KvmReport&) const = default;
};

// "absent", "unusable", "slow", "whole"
std::string_view VerdictName(KvmReport::Verdict verdict);

// Runs the probe guest in a child process, which is killed if it does not end in time. A result
// that a busy host may have caused is tried again, a few times. Takes 2-400 ms if KVM behaves,
// never more than 15 s, and a KVM that misbehaves cannot hurt the caller. Blocks; safe from any
// thread.
KvmReport ProbeKvm();

// What the probe saw, before it is judged. Separate so that every verdict can be tested.
struct KvmFacts {
  int open_errno = 0;                // of open("/dev/kvm"); 0: it opened
  int api_version = 0;               // 12 is the only one there is
  std::vector<std::string> missing;  // capabilities that a VMM needs, by KVM's names
  std::string failed_call;           // the first KVM call that failed, or empty
  int call_errno = 0;
  int stage = 0;                  // how far the guest came; see ProbeStage
  std::uint32_t exit_reason = 0;  // of an exit that the guest did not ask for; 0: none
  bool timed_out = false;
  double mips = 0;
};

// The guest reports each stage when it has passed it.
enum ProbeStage : int { kNothing, kLongMode, kShortLoop, kCmpxchg16b, kXsave, kLongLoop };

KvmReport JudgeKvm(const KvmFacts& facts);

// Whether load on the host, instead of KVM itself, may explain why the facts are not those of a
// whole KVM: the guest ran out of time, or ran slowly because something else had the processor.
bool LoadMayExplain(const KvmFacts& facts);

}  // namespace tinderbox::vmm
