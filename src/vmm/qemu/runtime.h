// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "base/error.h"
#include "vmm/launcher.h"
#include "vmm/program_files.h"

namespace tinderbox::vmm::qemu {

// What QEMU's jail holds of the host so that QEMU runs: the program, its loader and libraries, its
// accelerators (which Debian builds as modules) and its firmware. Nothing else of /usr.
class Runtime {
 public:
  explicit Runtime(std::string qemu, LibraryPlaces places = SystemLibraryPlaces());

  // Computed at the first call, and anew when a package has changed the program or the linker's
  // cache. Thread-safe; reads files. Errors are those of ProgramFiles.
  base::Result<std::vector<JailBind>> Binds();

 private:
  base::Result<std::vector<JailBind>> Compute() const;
  std::string Fingerprint() const;

  const std::string qemu_;
  const LibraryPlaces places_;
  std::mutex mutex_;
  std::string fingerprint_;  // of what binds_ was computed from; empty: of nothing yet
  std::vector<JailBind> binds_;
};

}  // namespace tinderbox::vmm::qemu
