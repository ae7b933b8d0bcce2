// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/mount_paths.h"

#include <gtest/gtest.h>

namespace tinderbox::sandbox {
namespace {

TEST(CheckMountsTest, TakesCleanAbsolutePaths) {
  EXPECT_TRUE(CheckMounts({}));
  EXPECT_TRUE(CheckMounts({{"/mnt/data", "a"}, {"/mnt/data2", "b"}, {"/home/user/x y", "a"}}));
  EXPECT_TRUE(CheckMounts({{"/process", "a"}, {"/...", "a"}}));
}

TEST(CheckMountsTest, RefusesWhatIsNot) {
  for (const std::string path : {"", "/", "mnt", "./mnt", "/mnt/", "//mnt", "/mnt//x", "/mnt/./x",
                                 "/mnt/../x", "/..", "/proc", "/proc/x", "/sys/fs", "/dev/shm"}) {
    const auto checked = CheckMounts({{path, "a"}});
    ASSERT_FALSE(checked) << path;
    EXPECT_EQ(checked.error().code(), base::Code::kInvalidArgument) << path;
  }
  EXPECT_FALSE(CheckMounts({{std::string("/a\0b", 4), "a"}}));
  EXPECT_FALSE(CheckMounts({{"/" + std::string(256, 'a'), "a"}}));
  EXPECT_FALSE(CheckMounts({{"/mnt", "a"}, {"/mnt/inside", "b"}}));
  MountMap many;
  for (std::size_t i = 0; i <= kMaxVolumeMounts; ++i) many["/mnt/" + std::to_string(i)] = "a";
  EXPECT_FALSE(CheckMounts(many));
}

}  // namespace
}  // namespace tinderbox::sandbox
