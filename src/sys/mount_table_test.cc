// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/mount_table.h"

#include <gtest/gtest.h>

namespace tinderbox::sys {
namespace {

TEST(MountTableTest, ReadsLinesWithAndWithoutOptionalFields) {
  const auto mounts = ParseMountTable(
      "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
      "23 22 0:5 / /proc rw - proc proc rw\n"
      "24 22 0:6 /sub /mnt/a\\040b rw shared:2 master:3 - xfs /dev/loop0 rw,x=y\n");
  ASSERT_EQ(mounts.size(), 3u);
  EXPECT_EQ(mounts[0].path, "/");
  EXPECT_EQ(mounts[0].source, "/dev/vda");
  EXPECT_EQ(mounts[1].type, "proc");
  EXPECT_EQ(mounts[2].path, "/mnt/a b");
  EXPECT_EQ(mounts[2].type, "xfs");
  EXPECT_EQ(mounts[2].source, "/dev/loop0");
}

TEST(MountTableTest, LeavesOutLinesThatItCannotRead) {
  EXPECT_TRUE(ParseMountTable("").empty());
  EXPECT_TRUE(ParseMountTable("\n\n").empty());
  EXPECT_TRUE(ParseMountTable("22 1 254:0 / / rw\n").empty());
  EXPECT_TRUE(ParseMountTable("22 1 254:0 / / rw -\n").empty());
  EXPECT_TRUE(ParseMountTable("22 1 254:0 / / rw - ext4").empty());
}

TEST(MountTableTest, UnescapesOnlyWhatIsEscaped) {
  const auto mounts = ParseMountTable("1 1 0:1 / /a\\134b\\9\\04 rw - t s rw\n");
  ASSERT_EQ(mounts.size(), 1u);
  EXPECT_EQ(mounts[0].path, "/a\\b\\9\\04");
}

TEST(MountTableTest, FindsTheRoot) {
  const auto root = FindMount("/");
  ASSERT_TRUE(root) << root.error().ToString();
  EXPECT_TRUE(root->has_value());
  EXPECT_FALSE(FindMount("/no/such/mount").value().has_value());
}

}  // namespace
}  // namespace tinderbox::sys
