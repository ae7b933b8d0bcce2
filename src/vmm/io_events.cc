// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/io_events.h"

#include <chrono>
#include <utility>

#include "vmm/launched_vm.h"
#include "vmm/qemu/io_events.h"
#include "vmm/qemu/plan.h"

namespace tinderbox::vmm {
namespace {

// The VMM listens since its start: there is nothing to wait for.
constexpr std::chrono::milliseconds kConnect{20};

}  // namespace

base::Result<std::unique_ptr<IoEvents>> OpenIoEvents(std::string_view vmm, LaunchedVm& vm) {
  if (vmm != "qemu") return nullptr;
  auto connection = TRY(ConnectInJail(vm.pidfd(), vm.warden_pid(), qemu::kJailEventSocket,
                                      base::Deadline::After(kConnect)));
  return std::make_unique<qemu::QemuIoEvents>(std::move(connection));
}

}  // namespace tinderbox::vmm
