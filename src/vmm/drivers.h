// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/error.h"
#include "vmm/disk_limits.h"
#include "vmm/driver.h"
#include "vmm/probe.h"

// How to get a driver: by name here, or by what this host can do with choose.h.
namespace tinderbox::vmm {

struct DriverOptions {
  // The tinderbox-warden program; empty: FindWardenProgram().
  std::string warden;
  // What ProbeKvm() said; without it the driver asks itself (2-100 ms).
  std::optional<KvmReport> kvm;
  // Limits of each VM that the driver starts.
  DiskLimits disk;
};

// Both run the binary once with --version, measure what the host has (memory, CPUs, clock: 20 ms),
// and need root for what they launch. kNotFound where `binary` is not there; kFailedPrecondition
// for a version that must not be used (Firecracker 1.13.0-1.14.3 and 1.15.0: CVE-2026-5747) or a
// host that cannot run it (no KVM for Firecracker). The driver is safe from any thread.
base::Result<std::unique_ptr<Driver>> OpenFirecracker(const std::string& binary,
                                                      const DriverOptions& options = {});
base::Result<std::unique_ptr<Driver>> OpenQemu(const std::string& binary,
                                               const DriverOptions& options = {});

// Looks on PATH and in the usual places; no value where there is none. `configured`, where not
// empty, is the only place looked at, and kNotFound where nothing is there.
base::Result<std::optional<std::string>> FindFirecracker(const std::string& configured = {});
base::Result<std::optional<std::string>> FindQemu(const std::string& configured = {});

// The warden beside this program, in its libexec or lib directory, or in the build tree. kNotFound.
base::Result<std::string> FindWardenProgram();

}  // namespace tinderbox::vmm
