// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/xfs.h"

#include <sys/ioctl.h>

#include <cerrno>

namespace tinderbox::sys {

using base::FailErrno;
using base::Result;

namespace {

// The kernel's interface (fs/xfs/libxfs/xfs_fs.h), which is in no system header.
struct XfsGeometryV1 {
  std::uint32_t block_size;
  std::uint32_t realtime_extent_size;
  std::uint32_t group_blocks;
  std::uint32_t group_count;
  std::uint32_t log_blocks;
  std::uint32_t sector_size;
  std::uint32_t inode_size;
  std::uint32_t inode_max_percent;
  std::uint64_t data_blocks;
  std::uint64_t realtime_blocks;
  std::uint64_t realtime_extents;
  std::uint64_t log_start;
  unsigned char uuid[16];
  std::uint32_t stripe_unit;
  std::uint32_t stripe_width;
  std::int32_t version;
  std::uint32_t flags;
  std::uint32_t log_sector_size;
  std::uint32_t realtime_sector_size;
  std::uint32_t directory_block_size;
};

struct XfsGrowData {
  std::uint64_t new_blocks;
  std::uint32_t inode_max_percent;
};

constexpr auto kGeometryV1 = _IOR('X', 100, XfsGeometryV1);
constexpr auto kGrowData = _IOW('X', 110, XfsGrowData);

}  // namespace

Result<> GrowXfs(FdRef root, std::uint64_t bytes) {
  XfsGeometryV1 geometry{};
  if (::ioctl(root.get(), kGeometryV1, &geometry) != 0) {
    return FailErrno(errno, "read the geometry of XFS");
  }
  const XfsGrowData grow{.new_blocks = bytes / geometry.block_size,
                         .inode_max_percent = geometry.inode_max_percent};
  if (grow.new_blocks <= geometry.data_blocks) return {};
  if (::ioctl(root.get(), kGrowData, &grow) != 0) return FailErrno(errno, "grow XFS");
  return {};
}

}  // namespace tinderbox::sys
