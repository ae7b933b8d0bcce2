// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/starting_vm.h"

#include <fmt/format.h>

#include "base/log.h"
#include "vmm/last_words.h"

namespace tinderbox::vmm {
namespace {

constexpr std::size_t kLastWords = 400;
// A VMM that closes its socket is about to end; how it did is worth a moment.
constexpr std::chrono::milliseconds kEndAllowed{500};

std::string HowItEnded(const ExitStatus& status) {
  return status.signalled ? fmt::format("was ended by signal {}", status.code)
                          : fmt::format("ended with status {}", status.code);
}

// kNotFound: the root directory of a process that is dying cannot be opened any more.
bool LooksLikeDeath(const base::Error& error) {
  return error.code() == base::Code::kUnavailable || error.code() == base::Code::kNotFound;
}

}  // namespace

bool HasEnded(LaunchedVm& vm) {
  return vm.Wait(base::Deadline::After(std::chrono::milliseconds(0))).has_value();
}

bool DiedOf(LaunchedVm& vm, const base::Error& error) {
  return LooksLikeDeath(error) ? vm.Wait(base::Deadline::After(kEndAllowed)).has_value()
                               : HasEnded(vm);
}

StartingVm::~StartingVm() {
  if (!vm_) return;
  // The caller gets the first error; what fails here, recovery at the next start sweeps.
  const std::string run_dir = vm_->run_dir();
  if (auto killed = vm_->Kill(); !killed)
    base::LogWarning("ignoring: kill a VM whose start failed",
                     {{"sandbox", vm_->id()}, {"error", killed.error().ToString()}});
  if (auto removed = Remove(run_dir); !removed)
    base::LogWarning("ignoring: remove a VM whose start failed",
                     {{"sandbox", vm_->id()}, {"error", removed.error().ToString()}});
}

base::Error StartingVm::Explain(base::Error error) {
  const bool gone = LooksLikeDeath(error);
  const auto status =
      vm_->Wait(base::Deadline::After(gone ? kEndAllowed : std::chrono::milliseconds(0)));
  if (!status) return error;
  // That the connection broke is but a consequence then.
  std::string message = gone ? fmt::format("the VMM {}", HowItEnded(*status))
                             : fmt::format("{}; the VMM {}", error.ToString(), HowItEnded(*status));
  const std::string words = LastWords(vm_->ConsoleTail(4 * kLastWords).value_or(""), kLastWords);
  if (!words.empty()) message += fmt::format(" and said: {}", words);
  const auto code = gone ? base::Code::kFailedPrecondition : error.code();
  return base::Error(code, std::move(message), error.where()).WithRemedy(error.remedy());
}

bool StartingVm::EndedWell() {
  const auto status = vm_->Wait(base::Deadline::After(kEndAllowed));
  return status && !status->signalled && status->code == 0;
}

}  // namespace tinderbox::vmm
