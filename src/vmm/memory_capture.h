// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

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
  // written. Of a guest that still runs it is no copy of any moment: UpdateChanges makes it one.
  base::Result<std::uint64_t> SaveChanges(const std::string& base, sys::FdRef to,
                                          base::Deadline deadline);
  // After this object's SaveChanges to the same file: writes what is not the same in it by now.
  // Comparing is several times quicker than writing, and misses nothing.
  base::Result<std::uint64_t> UpdateChanges(sys::FdRef to, base::Deadline deadline);
  // Writes all of guest memory to the empty file `to`; pages of zeros become holes.
  base::Result<std::uint64_t> SaveAll(sys::FdRef to, base::Deadline deadline) const;

 private:
  MemoryCapture(pid_t pid, sys::UniqueFd process, std::vector<sys::FileMapping> mappings,
                std::uint64_t size)
      : pid_(pid), process_(std::move(process)), mappings_(std::move(mappings)), size_(size) {}

  // Calls work(address, bytes, offset in the file) for all that has changed, piece by piece.
  template <typename Work>
  base::Result<> ForChanges(base::Deadline deadline, const Work& work);
  base::Result<> Read(std::uint64_t address, char* to, std::size_t size) const;

  pid_t pid_;
  sys::UniqueFd process_;  // /proc/PID
  std::vector<sys::FileMapping> mappings_;
  std::uint64_t size_;
  // What had changed when it was last looked: a page that no longer counts as changed (the VMM has
  // given it back) is looked at once more, since the file may hold what it was.
  std::vector<sys::PageRange> seen_;
};

}  // namespace tinderbox::vmm
