// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/rootfs_tree.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/internal/test_files.h"
#include "sys/file.h"

namespace tinderbox::image {
namespace {

class RootfsTreeTest : public ::testing::Test {
 protected:
  RootfsTreeTest() {
    EXPECT_TRUE(sys::MakeDirs(root_ + "/etc"));
    EXPECT_TRUE(sys::WriteFileAtomic(dir_.path() + "/outside", "host"));
  }
  RootfsTree Tree() { return RootfsTree::Open(root_).value(); }

  const testing::TempDir dir_;
  const std::string root_ = dir_.path() + "/root";
  const Ownership mine_{.mode = 0640, .uid = ::geteuid(), .gid = ::getegid()};
};

TEST_F(RootfsTreeTest, WritesFilesWithTheirMode) {
  ASSERT_TRUE(Tree().Write("/etc/hosts", "one\n", mine_));
  ASSERT_TRUE(Tree().Append("/etc/hosts", "two\n"));
  EXPECT_EQ(Tree().Read("/etc/hosts").value(), "one\ntwo\n");
  EXPECT_EQ(sys::Stat(root_ + "/etc/hosts")->st_mode & 07777, 0640u);
  ASSERT_TRUE(Tree().MakeDir("/etc/new", {.mode = 0751, .uid = ::geteuid(), .gid = ::getegid()}));
  EXPECT_EQ(sys::Stat(root_ + "/etc/new")->st_mode & 07777, 0751u);
}

TEST_F(RootfsTreeTest, ReplacesLinksInsteadOfFollowingThem) {
  ASSERT_EQ(::symlink((dir_.path() + "/outside").c_str(), (root_ + "/etc/resolv.conf").c_str()), 0);
  ASSERT_TRUE(Tree().Write("/etc/resolv.conf", "guest", mine_));
  EXPECT_EQ(sys::ReadFile(dir_.path() + "/outside").value(), "host");
  EXPECT_EQ(sys::ReadFile(root_ + "/etc/resolv.conf").value(), "guest");
}

TEST_F(RootfsTreeTest, ResolvesLinksWithinTheTree) {
  ASSERT_EQ(::symlink(dir_.path().c_str(), (root_ + "/escape").c_str()), 0);
  ASSERT_EQ(::symlink("../../../..", (root_ + "/up").c_str()), 0);
  ASSERT_EQ(::symlink("/etc", (root_ + "/inside").c_str()), 0);
  EXPECT_FALSE(Tree().Read("/escape/outside"));
  EXPECT_FALSE(Tree().Append("/escape/outside", "x"));
  EXPECT_FALSE(Tree().Write("/escape/outside", "x", mine_));
  EXPECT_FALSE(Tree().Read("/up" + dir_.path() + "/outside"));
  EXPECT_FALSE(Tree().Read("/../outside"));
  EXPECT_TRUE(Tree().Write("/inside/file", "x", mine_));
  EXPECT_TRUE(sys::Exists(root_ + "/etc/file"));
  EXPECT_EQ(sys::ReadFile(dir_.path() + "/outside").value(), "host");
}

TEST_F(RootfsTreeTest, RemovesQuietly) {
  EXPECT_TRUE(Tree().Remove("/etc/none"));
  ASSERT_TRUE(Tree().Write("/etc/x", "", mine_));
  ASSERT_TRUE(Tree().Remove("/etc/x"));
  EXPECT_FALSE(sys::Exists(root_ + "/etc/x"));
}

}  // namespace
}  // namespace tinderbox::image
