// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "base/deadline.h"
#include "base/error.h"
#include "vmm/driver.h"
#include "vmm/launcher.h"

namespace tinderbox::vmm {

// A VM between its launch and the moment its guest runs: whatever fails in between, the VMM is
// killed and everything of it removed, by the destructor.
class StartingVm {
 public:
  explicit StartingVm(std::unique_ptr<LaunchedVm> vm) : vm_(std::move(vm)) {}
  StartingVm(StartingVm&&) = default;
  StartingVm& operator=(StartingVm&&) = delete;
  ~StartingVm();

  LaunchedVm& vm() { return *vm_; }
  // The guest runs: from now on the VM lives by itself.
  std::unique_ptr<LaunchedVm> Release() { return std::move(vm_); }

  // Puts what is known of the VMM into `error`: that it ended, how, and the last words on its
  // console, which are of the VMM and so trusted no more than a guest's: bounded and escaped.
  base::Error Explain(base::Error error);

  // For a connection that broke at the very call that starts the guest: a tiny guest may have ended
  // by then, and its VMM with it. True where it ended with status 0.
  bool EndedWell();

 private:
  std::unique_ptr<LaunchedVm> vm_;
};

bool HasEnded(LaunchedVm& vm);
// Whether that is why a call to the VMM failed with `error`. A broken or impossible connection is
// how a dying VMM looks: its end is waited for a moment then.
bool DiedOf(LaunchedVm& vm, const base::Error& error);

}  // namespace tinderbox::vmm
