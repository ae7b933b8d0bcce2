// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstdint>
#include <string_view>
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

// The process may be hostile: it chooses its mappings, and changes them meanwhile, as it likes.

// A process that has mapped a file more often than this is refused.
inline constexpr std::size_t kMaxFileMappings = 1024;

// The private mappings of `file` in the process whose /proc directory is `process`, by address.
// kFailedPrecondition if there are more than kMaxFileMappings.
base::Result<std::vector<FileMapping>> MappingsOf(FdRef process, const struct stat& file);
// The same from the text of /proc/PID/maps, for files of any device with this inode number.
base::Result<std::vector<FileMapping>> ParseMappings(std::string_view maps, std::uint64_t inode);

// The mappings, out of `mappings`, that show each byte in [0, size) of the file exactly once, by
// offset. Empty if there are none such. Every byte of the result is in the file: for each mapping,
// offset + (end - begin) <= size.
std::vector<FileMapping> CoverFile(std::vector<FileMapping> mappings, std::uint64_t size);

// A piece of a file and where a process sees it.
struct FilePiece {
  std::uint64_t address = 0;
  std::uint64_t offset = 0;  // in the file
  std::uint64_t size = 0;
  bool operator==(const FilePiece&) const = default;
};

// The intersection of `mappings` and `ranges`, each byte once. No other place is in
// the result, whatever `ranges` says.
std::vector<FilePiece> PiecesOf(const std::vector<FileMapping>& mappings,
                                std::vector<PageRange> ranges);

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
