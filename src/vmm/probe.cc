// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/probe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cerrno>

#include "base/error.h"

namespace tinderbox::vmm {
namespace {

constexpr int kApiVersion = 12;
// A tight loop runs at thousands of MIPS in hardware, and at one or a few in software. Nested
// virtualisation costs exits, not this.
constexpr double kNativeMips = 100;

KvmReport Report(KvmReport::Verdict verdict, std::string detail, double mips = 0) {
  return {.verdict = verdict, .detail = std::move(detail), .mips = mips};
}

// What comes after `stage`.
std::string_view NextStage(int stage) {
  switch (stage) {
    case kNothing: return "enter 64-bit mode";
    case kLongMode: return "finish a loop of 20,000 instructions";
    case kShortLoop: return "execute cmpxchg16b";
    case kCmpxchg16b: return "execute xsave and xrstor";
    default: return "finish a loop of 2,000,000 instructions";
  }
}

std::string ErrnoText(int err) { return base::Error::FromErrno(err, "").ToString(); }

KvmReport JudgeOpen(int err) {
  if (err == ENOENT || err == ENODEV || err == ENXIO)
    return Report(KvmReport::Verdict::kAbsent, "there is no /dev/kvm");
  return Report(KvmReport::Verdict::kUnusable, "/dev/kvm cannot be opened" + ErrnoText(err));
}

std::string Rate(double mips) {
  return fmt::format(fmt::runtime(mips < 10 ? "{:.1f} million instructions a second"
                                            : "{:.0f} million instructions a second"),
                     mips);
}

// Why the guest came no further than it did.
std::string Stopped(const KvmFacts& facts) {
  std::string text = fmt::format("a guest could not {}", NextStage(facts.stage));
  if (facts.timed_out) return text + " in time";
  return facts.exit_reason == 0 ? text : fmt::format("{} (KVM exit {})", text, facts.exit_reason);
}

// The guest came past its first loop, so its speed is known.
KvmReport JudgeRun(const KvmFacts& facts) {
  const bool native = facts.mips >= kNativeMips;
  std::string detail = fmt::format("/dev/kvm runs guests in {}, at {}",
                                   native ? "hardware" : "software", Rate(facts.mips));
  // The long loop is left out where the short one was slow.
  if (facts.stage < (native ? kLongLoop : kXsave)) detail += ", and " + Stopped(facts);
  const bool whole = native && facts.stage >= kLongLoop;
  return Report(whole ? KvmReport::Verdict::kWhole : KvmReport::Verdict::kSlow, std::move(detail),
                facts.mips);
}

}  // namespace

std::string_view VerdictName(KvmReport::Verdict verdict) {
  switch (verdict) {
    case KvmReport::Verdict::kAbsent: return "absent";
    case KvmReport::Verdict::kUnusable: return "unusable";
    case KvmReport::Verdict::kSlow: return "slow";
    case KvmReport::Verdict::kWhole: return "whole";
  }
  return "unknown";
}

bool LoadMayExplain(const KvmFacts& facts) {
  if (facts.timed_out) return true;
  return facts.stage >= kShortLoop && facts.mips < kNativeMips;
}

KvmReport JudgeKvm(const KvmFacts& facts) {
  using enum KvmReport::Verdict;
  if (facts.open_errno != 0) return JudgeOpen(facts.open_errno);
  if (facts.failed_call.empty() && facts.api_version != kApiVersion)
    return Report(kUnusable, fmt::format("/dev/kvm speaks version {}, not {}", facts.api_version,
                                         kApiVersion));
  if (!facts.missing.empty())
    return Report(kUnusable, fmt::format("/dev/kvm lacks {}", fmt::join(facts.missing, ", ")));
  if (!facts.failed_call.empty())
    return Report(kUnusable, fmt::format("/dev/kvm fails at {}{}", facts.failed_call,
                                         ErrnoText(facts.call_errno)));
  // Not even the first instruction: whether anything at all runs here is unknown.
  if (facts.stage == kNothing)
    return Report(kUnusable, "/dev/kvm makes a VM, but " + Stopped(facts));
  if (facts.stage < kShortLoop)
    return Report(kSlow, "/dev/kvm runs guests, but " + Stopped(facts), facts.mips);
  return JudgeRun(facts);
}

}  // namespace tinderbox::vmm
