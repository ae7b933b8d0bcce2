// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/pagemap.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <string>

#include "sys/file.h"

namespace tinderbox::sys {

using base::FailErrno;
using base::Result;

namespace {

constexpr std::size_t kMaxMaps = 16 << 20;

// Of linux/fs.h since 6.7; stated here since the headers of Debian 12 are older than the kernels
// that run it.
struct ScannedRegion {
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t categories;
};
struct ScanArguments {
  std::uint64_t size;
  std::uint64_t flags;
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t walk_end;
  std::uint64_t vec;
  std::uint64_t vec_len;
  std::uint64_t max_pages;
  std::uint64_t category_inverted;
  std::uint64_t category_mask;
  std::uint64_t category_anyof_mask;
  std::uint64_t return_mask;
};
constexpr unsigned long kPagemapScan = _IOWR('f', 16, ScanArguments);
constexpr std::uint64_t kIsFile = 1 << 2;
constexpr std::uint64_t kIsPresent = 1 << 3;
constexpr std::uint64_t kIsSwapped = 1 << 4;

// Bits of an entry of /proc/PID/pagemap.
constexpr std::uint64_t kEntryPresent = 1UL << 63;
constexpr std::uint64_t kEntrySwapped = 1UL << 62;
constexpr std::uint64_t kEntryFile = 1UL << 61;

void Append(std::vector<PageRange>& ranges, std::uint64_t begin, std::uint64_t end) {
  if (!ranges.empty() && ranges.back().end == begin) {
    ranges.back().end = end;
  } else {
    ranges.push_back({begin, end});
  }
}

Result<std::vector<PageRange>> Scan(FdRef pagemap, std::uint64_t begin, std::uint64_t end) {
  std::vector<PageRange> ranges;
  std::array<ScannedRegion, 512> regions;
  while (begin < end) {
    ScanArguments arguments{};
    arguments.size = sizeof arguments;
    arguments.start = begin;
    arguments.end = end;
    arguments.vec = reinterpret_cast<std::uint64_t>(regions.data());
    arguments.vec_len = regions.size();
    // Not of a file, and in memory or in swap.
    arguments.category_inverted = kIsFile;
    arguments.category_mask = kIsFile;
    arguments.category_anyof_mask = kIsPresent | kIsSwapped;
    arguments.return_mask = kIsPresent;
    const int found = ::ioctl(pagemap.get(), kPagemapScan, &arguments);
    if (found < 0 && errno == EINTR) continue;
    if (found < 0) {
      return FailErrno(errno == ENOTTY ? EOPNOTSUPP : errno, "scan a process's page map");
    }
    for (int i = 0; i < found; ++i) {
      const ScannedRegion& region = regions[static_cast<std::size_t>(i)];
      Append(ranges, region.start, region.end);
    }
    if (arguments.walk_end <= begin) break;
    begin = arguments.walk_end;
  }
  return ranges;
}

Result<std::vector<PageRange>> Read(FdRef pagemap, std::uint64_t begin, std::uint64_t end) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  std::vector<PageRange> ranges;
  std::array<std::uint64_t, 8192> entries;
  while (begin < end) {
    const std::size_t count = std::min<std::uint64_t>(entries.size(), (end - begin) / page);
    const ssize_t got = ::pread(pagemap.get(), entries.data(), count * sizeof entries[0],
                                static_cast<off_t>(begin / page * sizeof entries[0]));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FailErrno(errno, "read a process's page map");
    if (got < static_cast<ssize_t>(sizeof entries[0])) {
      return FailErrno(ESRCH, "read a process's page map: it ends early");
    }
    for (std::size_t i = 0; i < static_cast<std::size_t>(got) / sizeof entries[0]; ++i) {
      const std::uint64_t entry = entries[i];
      if ((entry & (kEntryPresent | kEntrySwapped)) != 0 && (entry & kEntryFile) == 0) {
        Append(ranges, begin, begin + page);
      }
      begin += page;
    }
  }
  return ranges;
}

}  // namespace

Result<std::vector<FileMapping>> MappingsOf(FdRef process, const struct stat& file) {
  const auto maps = TRY(OpenAt(process, "maps", O_RDONLY));
  const std::string text = TRY(ReadAll(maps, kMaxMaps));
  std::vector<FileMapping> mappings;
  for (std::size_t at = 0; at < text.size(); at = text.find('\n', at) + 1) {
    FileMapping mapping;
    std::uint64_t inode = 0;
    // Every line ends in a newline: ReadAll has read whole ones.
    if (std::sscanf(text.c_str() + at, "%" SCNx64 "-%" SCNx64 " %*4s %" SCNx64 " %*s %" SCNu64,
                    &mapping.begin, &mapping.end, &mapping.offset, &inode) != 4) {
      return base::Fail(base::Code::kDataLoss, "read a process's mappings: a line makes no sense");
    }
    if (inode == file.st_ino) {
      // The device in that line is not the one of stat(2) on every file system (btrfs).
      struct stat mapped{};
      const auto name = fmt::format("map_files/{:x}-{:x}", mapping.begin, mapping.end);
      if (::fstatat(process.get(), name.c_str(), &mapped, 0) == 0 && mapped.st_dev == file.st_dev &&
          mapped.st_ino == file.st_ino) {
        mappings.push_back(mapping);
      }
    }
    if (text.find('\n', at) == std::string::npos) break;
  }
  return mappings;
}

Result<std::vector<PageRange>> ChangedPages(FdRef process, std::uint64_t begin, std::uint64_t end,
                                            PagemapMethod method) {
  const auto pagemap = TRY(OpenAt(process, "pagemap", O_RDONLY));
  if (method != PagemapMethod::kRead) {
    auto ranges = Scan(pagemap, begin, end);
    if (ranges || method == PagemapMethod::kScan) return ranges;
    if (ranges.error().code() != base::Code::kUnimplemented) return ranges;
  }
  return Read(pagemap, begin, end);
}

}  // namespace tinderbox::sys
