// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/deadline.h"
#include "base/error.h"
#include "sys/fd.h"
#include "sys/pagemap.h"
#include "sys/process_freeze.h"
#include "vmm/launcher.h"

// Guest memory, saved from outside the VMM. It is a private mapping of a file, so what the guest
// has changed since are exactly the pages that are no longer the file's: written, zeroed, swapped
// out. Works with any VMM that maps its guest's memory so, and costs what has changed.
//
// The VMM may be hostile. It can choose what is saved of it, which is its own memory; it cannot
// make this process read or write anything else, whatever it maps and whenever it changes that.
namespace tinderbox::vmm {

class MemoryCapture {
 public:
  // Finds the mapping of `jail_path` in the VMM's process. kFailedPrecondition if it has mapped no
  // such file, or not all of it.
  static base::Result<MemoryCapture> Open(LaunchedVm& vm, const std::string& jail_path);

  std::uint64_t size() const { return size_; }
  // Stops all threads of the VMM while the result lives. They go on by themselves if this process
  // dies. The VMM answers nothing meanwhile.
  base::Result<sys::FrozenProcess> Freeze(base::Deadline deadline) const;

  // Each of these fails with kAborted if the VMM has changed the mapping since Open.

  // Makes the empty file `to` a reflink of `base` (kInvalidArgument if that is not as large as
  // guest memory) and writes over it what has changed since the VM was launched. Returns the bytes
  // written. If the guest runs, the copy is not of one moment: UpdateChanges makes it one.
  base::Result<std::uint64_t> SaveChanges(const std::string& base, sys::FdRef to,
                                          base::Deadline deadline);
  // After this object's SaveChanges to the same file: writes what is not the same in it by now.
  // Comparing is several times quicker than writing, and misses nothing.
  base::Result<std::uint64_t> UpdateChanges(sys::FdRef to, base::Deadline deadline);
  // Writes all of guest memory to the empty file `to`; pages of zeros become holes.
  base::Result<std::uint64_t> SaveAll(sys::FdRef to, base::Deadline deadline) const;

 private:
  MemoryCapture(pid_t pid, sys::UniqueFd process, const struct stat& file)
      : pid_(pid),
        process_(std::move(process)),
        file_(file),
        size_(static_cast<std::uint64_t>(file.st_size)) {}

  // A mapping of each byte of the file; empty if there is none.
  base::Result<std::vector<sys::FileMapping>> FindMappings() const;
  base::Result<> CheckMappings() const;
  // Calls work(bytes, offset in the file) for all that has changed, piece by piece. `work` is given
  // nothing beyond the end of the file.
  template <typename Work>
  base::Result<> ForChanges(base::Deadline deadline, const Work& work);
  template <typename Work>
  base::Result<> ForPieces(const std::vector<sys::FilePiece>& pieces, base::Deadline deadline,
                           const Work& work) const;
  base::Result<> Read(std::uint64_t address, char* to, std::size_t size) const;

  pid_t pid_;
  sys::UniqueFd process_;  // /proc/PID
  struct stat file_;
  std::uint64_t size_;
  std::vector<sys::FileMapping> mappings_;
  // What had changed when it was last looked: a page that no longer counts as changed (the VMM has
  // given it back) is looked at once more, since the file may hold what it was.
  std::vector<sys::PageRange> seen_;
};

}  // namespace tinderbox::vmm
