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
#include <charconv>
#include <string>
#include <string_view>
#include <system_error>

#include "sys/file.h"

namespace tinderbox::sys {

using base::Code;
using base::Fail;
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

namespace {

// Takes a number off the front of `text`; false if there is none.
bool TakeNumber(std::string_view& text, int radix, std::uint64_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, radix);
  if (error != std::errc()) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}
bool TakeChar(std::string_view& text, char c) {
  if (!text.starts_with(c)) return false;
  text.remove_prefix(1);
  return true;
}
// A word and the blank behind it.
bool TakeWord(std::string_view& text, std::string_view& word) {
  const auto blank = text.find(' ');
  if (blank == std::string_view::npos) return false;
  word = text.substr(0, blank);
  text.remove_prefix(blank + 1);
  return true;
}

struct MapsLine {
  FileMapping mapping;
  std::uint64_t inode = 0;
  bool is_private = false;
};

// "begin-end mode offset device inode   name"
bool ParseLine(std::string_view line, MapsLine& parsed) {
  std::string_view mode, device;
  FileMapping& mapping = parsed.mapping;
  if (!TakeNumber(line, 16, mapping.begin) || !TakeChar(line, '-') ||
      !TakeNumber(line, 16, mapping.end) || !TakeChar(line, ' ') || !TakeWord(line, mode) ||
      !TakeNumber(line, 16, mapping.offset) || !TakeChar(line, ' ') || !TakeWord(line, device) ||
      !TakeNumber(line, 10, parsed.inode)) {
    return false;
  }
  parsed.is_private = mode.size() == 4 && mode[3] == 'p';
  return mapping.begin < mapping.end;
}

}  // namespace

Result<std::vector<FileMapping>> ParseMappings(std::string_view maps, std::uint64_t inode) {
  std::vector<FileMapping> mappings;
  while (!maps.empty()) {
    const std::string_view line = maps.substr(0, maps.find('\n'));
    maps.remove_prefix(std::min(line.size() + 1, maps.size()));
    MapsLine parsed;
    if (!ParseLine(line, parsed))
      return Fail(Code::kDataLoss, "read a process's mappings: a line is malformed");
    if (parsed.inode != inode || !parsed.is_private) continue;
    if (mappings.size() == kMaxFileMappings)
      return Fail(Code::kFailedPrecondition,
                  fmt::format("a process has mapped a file more than {} times", kMaxFileMappings));
    mappings.push_back(parsed.mapping);
  }
  return mappings;
}

Result<std::vector<FileMapping>> MappingsOf(FdRef process, const struct stat& file) {
  const auto maps = TRY(OpenAt(process, "maps", O_RDONLY));
  const std::string text = TRY(ReadAll(maps, kMaxMaps));
  auto mappings = TRY(ParseMappings(text, file.st_ino));
  std::erase_if(mappings, [&](const FileMapping& mapping) {
    // The device in that text is not the one of stat(2) on every file system (btrfs).
    struct stat mapped{};
    const auto name = fmt::format("map_files/{:x}-{:x}", mapping.begin, mapping.end);
    return ::fstatat(process.get(), name.c_str(), &mapped, 0) != 0 ||
           mapped.st_dev != file.st_dev || mapped.st_ino != file.st_ino;
  });
  return mappings;
}

std::vector<FileMapping> CoverFile(std::vector<FileMapping> mappings, std::uint64_t size) {
  std::ranges::sort(mappings, {}, &FileMapping::offset);
  std::vector<FileMapping> cover;
  std::uint64_t covered = 0;
  for (const FileMapping& mapping : mappings) {
    if (mapping.offset != covered || mapping.begin >= mapping.end) continue;
    if (mapping.end - mapping.begin > size - covered) continue;
    covered += mapping.end - mapping.begin;
    cover.push_back(mapping);
  }
  if (covered != size) cover.clear();
  return cover;
}

std::vector<FilePiece> PiecesOf(const std::vector<FileMapping>& mappings,
                                std::vector<PageRange> ranges) {
  std::ranges::sort(ranges, {}, &PageRange::begin);
  std::vector<PageRange> merged;  // apart from each other
  for (const PageRange& range : ranges) {
    if (!merged.empty() && range.begin <= merged.back().end) {
      merged.back().end = std::max(merged.back().end, range.end);
    } else {
      merged.push_back(range);
    }
  }
  std::vector<FilePiece> pieces;
  for (const FileMapping& mapping : mappings) {
    auto range = std::ranges::upper_bound(merged, mapping.begin, {}, &PageRange::end);
    for (; range != merged.end() && range->begin < mapping.end; ++range) {
      const std::uint64_t begin = std::max(range->begin, mapping.begin);
      const std::uint64_t end = std::min(range->end, mapping.end);
      if (begin < end)
        pieces.push_back({begin, mapping.offset + (begin - mapping.begin), end - begin});
    }
  }
  return pieces;
}

Result<std::vector<PageRange>> ChangedPages(FdRef process, std::uint64_t begin, std::uint64_t end,
                                            PagemapMethod method) {
  const auto pagemap = TRY(OpenAt(process, "pagemap", O_RDONLY));
  if (method != PagemapMethod::kRead) {
    auto ranges = Scan(pagemap, begin, end);
    if (ranges || method == PagemapMethod::kScan) return ranges;
    if (ranges.error().code() != Code::kUnimplemented) return ranges;
  }
  return Read(pagemap, begin, end);
}

}  // namespace tinderbox::sys
