// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/ext4.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "image/internal/apt.h"
#include "image/internal/checksum.h"
#include "sys/file.h"
#include "sys/tool.h"

namespace tinderbox::image {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

// The superblock (Documentation/filesystems/ext4/super.rst); all fields are little-endian.
constexpr off_t kSuperblockOffset = 1024;
constexpr std::size_t kSuperblockBytes = 1024;
constexpr std::size_t kBlocksLow = 0x4;
constexpr std::size_t kLogBlockSize = 0x18;
constexpr std::size_t kMagic = 0x38;
constexpr std::size_t kIncompatFeatures = 0x60;
constexpr std::size_t kReadOnlyFeatures = 0x64;
constexpr std::size_t kBlocksHigh = 0x150;
constexpr std::size_t kChecksum = 0x3fc;
constexpr std::uint16_t kExt4Magic = 0xef53;
constexpr std::uint32_t kIncompat64Bit = 0x80;
constexpr std::uint32_t kReadOnlyMetadataChecksum = 0x400;

// Everything that the host's mke2fs.conf could say otherwise is said here.
constexpr const char* kFeatures =
    "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,"
    "huge_file,dir_nlink,extra_isize,metadata_csum,resize_inode";

Result<> Damaged(std::string why) {
  return Fail(Code::kDataLoss, fmt::format("check ext4: {}", why));
}

}  // namespace

Result<> MakeExt4(const std::string& tree, const std::string& disk, std::uint64_t bytes) {
  {
    const auto file = TRY(sys::Open(disk, O_RDWR | O_CREAT | O_EXCL, 0600));
    if (::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) {
      return FailErrno(errno, fmt::format("set the size of '{}'", disk));
    }
  }
  // Half of the usual journal for large disks: each clone writes all of it in time.
  const auto journal = std::clamp<std::uint64_t>(bytes / (16 << 20), 4, 32);
  sys::ToolSpec mkfs;
  mkfs.argv = {"mke2fs",
               "-q",
               "-F",
               "-b",
               "4096",
               "-I",
               "256",
               "-i",
               "16384",
               "-m",
               "0",
               "-J",
               fmt::format("size={}", journal),
               "-O",
               kFeatures,
               "-e",
               "remount-ro",
               "-L",
               "tinderbox",
               "-E",
               "lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,resize=268435456",
               "-d",
               tree,
               disk};
  mkfs.deadline = base::Deadline::After(std::chrono::minutes(10));
  const auto made = TRY(sys::RunTool(mkfs));
  if (made.exit_code == 0) return {};
  if (made.error_tail.contains("Could not allocate block") ||
      made.error_tail.contains("Could not allocate inode")) {
    return std::unexpected(
        base::Error(
            Code::kResourceExhausted,
            fmt::format("make ext4 in '{}': {} MiB are too few for its content", disk, bytes >> 20))
            .WithRemedy("Configure a larger disk."));
  }
  return std::unexpected(AptError(fmt::format("make ext4 in '{}': {}", disk, made.error_tail),
                                  made.exit_code, made.error_tail));
}

Result<> CheckExt4(sys::FdRef disk, std::uint64_t bytes) {
  struct stat st{};
  if (::fstat(disk.get(), &st) != 0) return FailErrno(errno, "check ext4: stat");
  if (!S_ISREG(st.st_mode)) return Damaged("no regular file");
  if (static_cast<std::uint64_t>(st.st_size) != bytes) {
    return Damaged(fmt::format("{} bytes instead of {}", st.st_size, bytes));
  }
  std::array<char, kSuperblockBytes> block;
  const auto n = ::pread(disk.get(), block.data(), block.size(), kSuperblockOffset);
  if (n < 0) return FailErrno(errno, "check ext4: read");
  if (static_cast<std::size_t>(n) != block.size()) return Damaged("too short");
  const auto field = [&]<typename T>(std::size_t offset, T value) {
    std::memcpy(&value, block.data() + offset, sizeof value);
    return value;
  };
  if (field(kMagic, std::uint16_t{}) != kExt4Magic) return Damaged("no superblock");
  const auto log_size = field(kLogBlockSize, std::uint32_t{});
  if (log_size > 6) return Damaged("bad block size");
  std::uint64_t blocks = field(kBlocksLow, std::uint32_t{});
  if ((field(kIncompatFeatures, std::uint32_t{}) & kIncompat64Bit) != 0) {
    blocks |= std::uint64_t{field(kBlocksHigh, std::uint32_t{})} << 32;
  }
  if (blocks > bytes >> (10 + log_size)) return Damaged("its file system is larger than the file");
  if ((field(kReadOnlyFeatures, std::uint32_t{}) & kReadOnlyMetadataChecksum) != 0 &&
      Crc32c(~0u, {block.data(), kChecksum}) != field(kChecksum, std::uint32_t{})) {
    return Damaged("bad checksum of the superblock");
  }
  return {};
}

}  // namespace tinderbox::image
