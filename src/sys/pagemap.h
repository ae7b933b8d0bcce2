// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <vector>

#include "base/error.h"
#include "sys/fd.h"

// What a process has mapped of a file, and which pages of that it has made its own by writing.
namespace tinderbox::sys {

// Where a process sees a part of a file.
struct FileMapping {
  std::uint64_t begin = 0;  // addresses in that process
  std::uint64_t end = 0;
  std::uint64_t offset = 0;  // of `begin` in the file
  bool operator==(const FileMapping&) const = default;
};

struct PageRange {
  std::uint64_t begin = 0;  // addresses, whole pages
  std::uint64_t end = 0;
  bool operator==(const PageRange&) const = default;
};

// All mappings of `file` in the process whose /proc directory is `process`, by address.
base::Result<std::vector<FileMapping>> MappingsOf(FdRef process, const struct stat& file);

enum class PagemapMethod {
  kBest,  // kScan, or kRead where the kernel has none
  kScan,  // ioctl PAGEMAP_SCAN, Linux 6.7; kUnimplemented before
  kRead,  // eight bytes of /proc/PID/pagemap for each page
};

// The pages in [begin, end) of a private file mapping that no longer are the file's: written since
// (even to zeros, or back to what they were), in memory or swapped out. Neighbours are merged.
// `process` as above; its memory must stand still, or the answer is of no moment.
base::Result<std::vector<PageRange>> ChangedPages(FdRef process, std::uint64_t begin,
                                                  std::uint64_t end,
                                                  PagemapMethod method = PagemapMethod::kBest);

}  // namespace tinderbox::sys
