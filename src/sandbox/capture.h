// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/deadline.h"
#include "base/error.h"
#include "image/library.h"
#include "sandbox/manager.h"
#include "sandbox/open.h"
#include "store/store.h"
#include "vmm/disk_check.h"
#include "vmm/driver.h"

namespace tinderbox::sandbox {

// A guest that stands still, such that its state can be captured. Whatever happens, it goes on
// again when this is destroyed, unless End() was called: a failed capture never leaves a frozen
// guest.
class StoppedGuest {
 public:
  // Whether a guest whose agent does not answer is captured all the same, with its processes not
  // frozen: a copy of it would begin with the random numbers of every other one.
  enum class Silent { kRefuse, kAccept };

  // Saves what can be saved while it runs. Then, if `mode` is kFilesystem, has the guest write out
  // its file system (kUnavailable if its agent does not do that); if it is kFull, has it freeze its
  // processes (kUnavailable likewise, unless `silent` is kAccept). Then stops its CPUs.
  static base::Result<StoppedGuest> Stop(const ManagerOptions& options,
                                         const store::SandboxRecord& record, PauseMode mode,
                                         Silent silent, base::Deadline deadline);
  StoppedGuest(StoppedGuest&&) = default;
  StoppedGuest& operator=(StoppedGuest&&) = delete;
  ~StoppedGuest();

  // Memory (with kFull) and disk. Once. kResourceExhausted: the disk is full.
  base::Result<image::Capture> Save(base::Deadline deadline);
  // It goes on, with its clock set and its random numbers new. How long it stood still.
  base::Result<std::chrono::nanoseconds> Resume(base::Deadline deadline);
  // It is ended by the caller, and must not run again.
  void End() { vm_.reset(); }

 private:
  StoppedGuest(const ManagerOptions& options, store::SandboxRecord record, PauseMode mode,
               std::unique_ptr<vmm::Vm> vm, image::Capture capture);
  vmm::SnapshotRequest Request() const;
  base::Result<> FreezeFilesystem(base::Deadline deadline);
  base::Result<> FreezeProcesses(Silent silent, base::Deadline deadline);
  base::Result<> PauseCpus(base::Deadline deadline);
  base::Result<> SaveMemory(base::Deadline deadline);
  void Thaw() const;

  const ManagerOptions* options_;
  store::SandboxRecord record_;
  PauseMode mode_;
  image::Capture capture_;       // what is prepared in it goes first
  std::unique_ptr<vmm::Vm> vm_;  // none: it goes on already, or was ended
  std::chrono::steady_clock::time_point since_;
  bool frozen_ = false;  // something in the guest, by its agent, or so it may be
};

// Whether the error says that writes of the sandbox's disk are lost on the host: what it reads from
// now on may differ from what it wrote, so it must not live on.
bool IsLostDisk(const base::Error& error);
// Asks for that. kNotFound if the VMM cannot be asked.
base::Result<> CheckDisk(const ManagerOptions& options, const std::string& id, vmm::LaunchedVm& vm,
                         vmm::DiskSync sync);

// What the manifest says of a state of that sandbox that is saved now; the caller sets id, kind and
// name.
image::Template DescribeSaved(const ManagerOptions& options, const store::SandboxRecord& record,
                              PauseMode mode);

}  // namespace tinderbox::sandbox
