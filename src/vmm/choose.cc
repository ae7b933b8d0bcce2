// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/choose.h"

#include <fmt/format.h>

#include "vmm/drivers.h"

namespace tinderbox::vmm {

using base::Code;
using base::Error;
using base::Result;

namespace {

using Verdict = KvmReport::Verdict;

std::unexpected<Error> Missing(std::string message, std::string remedy) {
  return std::unexpected(
      Error(Code::kFailedPrecondition, std::move(message)).WithRemedy(std::move(remedy)));
}

constexpr char kInstallQemu[] = "Install Debian's package qemu-system-x86.";

Result<Decision> DecideFirecracker(const Offer& offer) {
  if (!offer.has_firecracker)
    return Missing("firecracker is asked for, and there is none on this host",
                   "Install Firecracker, or set the path of its program.");
  switch (offer.kvm.verdict) {
    case Verdict::kAbsent:
    case Verdict::kUnusable:
      return Missing(fmt::format("firecracker is asked for, but {}", offer.kvm.detail),
                     "Use 'auto' or 'qemu', or enable KVM on this host.");
    case Verdict::kSlow:
      return Decision{.firecracker = true,
                      .reason = fmt::format("{}; Firecracker was asked for by name and runs tiny "
                                            "guests here, no Linux",
                                            offer.kvm.detail)};
    case Verdict::kWhole: break;
  }
  return Decision{.firecracker = true,
                  .reason = fmt::format("{}; Firecracker was asked for by name", offer.kvm.detail)};
}

Result<Decision> DecideQemu(const Offer& offer, std::string_view why) {
  if (!offer.has_qemu) return Missing("there is no qemu-system-x86_64 on this host", kInstallQemu);
  const bool whole = offer.kvm.verdict == Verdict::kWhole;
  return Decision{.firecracker = false,
                  .reason = fmt::format("{}; QEMU with {} is used{}", offer.kvm.detail,
                                        whole ? "KVM" : "software emulation (TCG)", why)};
}

}  // namespace

Result<VmmWish> ParseVmmWish(std::string_view text) {
  if (text == "auto") return VmmWish::kAuto;
  if (text == "firecracker") return VmmWish::kFirecracker;
  if (text == "qemu") return VmmWish::kQemu;
  return std::unexpected(Error(Code::kInvalidArgument, fmt::format("'{}' is no VMM", text))
                             .WithRemedy("Use 'auto', 'firecracker' or 'qemu'."));
}

Result<Decision> Decide(VmmWish wish, const Offer& offer) {
  if (wish == VmmWish::kFirecracker) return DecideFirecracker(offer);
  if (wish == VmmWish::kQemu) return DecideQemu(offer, ", as asked for by name");
  if (offer.kvm.verdict != Verdict::kWhole) return DecideQemu(offer, " instead");
  if (!offer.has_firecracker) return DecideQemu(offer, ", since there is no Firecracker here");
  return Decision{.firecracker = true,
                  .reason = fmt::format("{}; Firecracker is used", offer.kvm.detail)};
}

Result<Choice> ChooseDriver(const ChoiceConfig& config) {
  const auto firecracker = TRY(FindFirecracker(config.firecracker));
  const auto qemu = TRY(FindQemu(config.qemu));
  Offer offer = {
      .kvm = ProbeKvm(), .has_firecracker = firecracker.has_value(), .has_qemu = qemu.has_value()};
  const DriverOptions options = {.warden = config.warden, .kvm = offer.kvm, .disk = config.disk};
  Decision decision = TRY(Decide(config.vmm, offer));
  if (decision.firecracker && firecracker) {
    auto driver = OpenFirecracker(*firecracker, options);
    if (driver) return Choice{std::move(*driver), std::move(decision.reason), std::move(offer.kvm)};
    // One that must not be used (its version) is as good as none, unless it was asked for by name.
    if (config.vmm == VmmWish::kFirecracker) return std::unexpected(std::move(driver).error());
    offer.has_firecracker = false;
    decision = TRY(Decide(config.vmm, offer));
    decision.reason += fmt::format(" ({})", driver.error().ToString());
  }
  // NOLINTNEXTLINE(bugprone-unchecked-optional-access): Decide fails where it is absent.
  auto driver = TRY(OpenQemu(*qemu, options));
  return Choice{std::move(driver), std::move(decision.reason), std::move(offer.kvm)};
}

}  // namespace tinderbox::vmm
