// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/error.h"
#include "sandbox/manager.h"
#include "sandbox/state.h"
#include "store/store.h"
#include "vmm/launcher.h"

namespace tinderbox::sandbox {

// One sandbox in memory: a copy of its record in the store, and the handle to its VM.
//
// `operation` serialises what is done to the sandbox: whoever changes its state holds it for the
// whole of the change. Readers take only the inner lock, so that a listing never waits for a boot.
class Sandbox {
 public:
  explicit Sandbox(store::SandboxRecord record);

  std::mutex operation;
  std::atomic<bool> expiring = false;  // its end is being dealt with
  // Its VM is stopped because a write of its disk waits for free space. Meaningful while it runs.
  std::atomic<bool> no_space = false;

  const std::string& id() const { return id_; }
  State state() const;
  store::SandboxRecord record() const;
  SandboxInfo Info() const;
  PortAccess Ports() const;

  // The VM, or none where it does not run. Shared, because a waiter on its death and a stop may
  // hold it at the same time.
  std::shared_ptr<vmm::LaunchedVm> vm() const;
  void SetVm(std::shared_ptr<vmm::LaunchedVm> vm);

  // Writes `changed` to the store, together with the event that tells of it, provided that the
  // table of states allows the step and the store still holds the state that this object holds;
  // then takes it over. The caller holds `operation`.
  base::Result<> Update(store::Store& store, store::SandboxRecord changed,
                        const std::optional<store::EventRecord>& event = {});

 private:
  const std::string id_;
  mutable std::mutex view_;
  store::SandboxRecord record_;
  std::shared_ptr<vmm::LaunchedVm> vm_;
};

PauseMode PauseModeOf(std::string_view name);
std::int64_t NowMs();  // milliseconds since the epoch

}  // namespace tinderbox::sandbox
