// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/error.h"
#include "sys/fd.h"
#include "sys/pagemap.h"
#include "vmm/launcher.h"

// Guest memory, saved from outside the VMM. It is a private mapping of a file, so what the guest
// has changed since are exactly the pages that are no longer the file's: written, zeroed, swapped
// out. Works with any VMM that maps its guest's memory so, and costs what has changed.
namespace tinderbox::vmm {

class MemoryCapture {
 public:
  // Finds the mapping of `jail_path` in the VMM's process; its guest must stand still from here
  // on. kFailedPrecondition where it has mapped no such file, or not all of it.
  static base::Result<MemoryCapture> Open(LaunchedVm& vm, const std::string& jail_path);

  std::uint64_t size() const { return size_; }
  // Makes the empty file `to` a reflink of `base` (kInvalidArgument where that is not as large as
  // guest memory) and writes over it what has changed since the VM was launched. Yields the bytes
  // written.
  base::Result<std::uint64_t> SaveChanges(const std::string& base, sys::FdRef to,
                                          base::Deadline deadline) const;
  // Writes all of guest memory to the empty file `to`; pages of zeros become holes.
  base::Result<std::uint64_t> SaveAll(sys::FdRef to, base::Deadline deadline) const;

 private:
  MemoryCapture(sys::UniqueFd memory, sys::UniqueFd process, std::vector<sys::FileMapping> mappings,
                std::uint64_t size)
      : memory_(std::move(memory)),
        process_(std::move(process)),
        mappings_(std::move(mappings)),
        size_(size) {}

  base::Result<> Read(std::uint64_t address, char* to, std::size_t size) const;

  sys::UniqueFd memory_;   // /proc/PID/mem
  sys::UniqueFd process_;  // /proc/PID
  std::vector<sys::FileMapping> mappings_;
  std::uint64_t size_;
};

}  // namespace tinderbox::vmm
