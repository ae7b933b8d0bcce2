// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

namespace tinderbox::sys {
namespace {

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "tinderbox-file-XXXXXX";
    dir_ = ::mkdtemp(pattern.data());
  }
  void TearDown() override { ASSERT_TRUE(RemoveTree(dir_)); }
  std::string dir_;
};

TEST_F(FileTest, AtomicWriteReplacesAndLeavesNoTemporary) {
  ASSERT_TRUE(WriteFileAtomic(dir_ + "/a", "one"));
  ASSERT_TRUE(WriteFileAtomic(dir_ + "/a", "two"));
  EXPECT_EQ(ReadFile(dir_ + "/a").value(), "two");
  EXPECT_EQ(::rmdir(dir_.c_str()), -1);
  ASSERT_TRUE(RemoveFile(dir_ + "/a"));
  EXPECT_EQ(::rmdir(dir_.c_str()), 0) << "a temporary file stayed behind";
}

TEST_F(FileTest, WhatAKilledWriterLeftIsRemovedAndNothingElse) {
  for (const char* name : {"a.0123abcd.tmp", "b", "a.tmp", ".0123abcd.tmp", "a.0123abcg.tmp",
                           "a.0123abcd.tmp.bak", "a_0123abcd.tmp"}) {
    ASSERT_TRUE(WriteFileAtomic(dir_ + "/" + name, ""));
  }
  EXPECT_EQ(RemoveTemporaries(dir_).value(), 1u);
  EXPECT_FALSE(Exists(dir_ + "/a.0123abcd.tmp"));
  EXPECT_TRUE(Exists(dir_ + "/a.0123abcg.tmp"));
  EXPECT_EQ(RemoveTemporaries(dir_).value(), 0u);
  EXPECT_EQ(RemoveTemporaries(dir_ + "/none").value(), 0u);
}

TEST_F(FileTest, ReadIsBounded) {
  ASSERT_TRUE(WriteFileAtomic(dir_ + "/big", std::string(100, 'x')));
  EXPECT_EQ(ReadFile(dir_ + "/big", 99).error().code(), base::Code::kResourceExhausted);
  EXPECT_EQ(ReadFile(dir_ + "/big", 100).value().size(), 100u);
}

TEST_F(FileTest, AbsenceHasItsOwnFunction) {
  EXPECT_FALSE(OpenIfExists(dir_ + "/none", O_RDONLY).value().has_value());
  EXPECT_EQ(Open(dir_ + "/none", O_RDONLY).error().code(), base::Code::kNotFound);
}

TEST_F(FileTest, RemoveTreeDoesNotFollowLinks) {
  ASSERT_TRUE(MakeDirs(dir_ + "/tree/a/b"));
  ASSERT_TRUE(WriteFileAtomic(dir_ + "/kept", "x"));
  ASSERT_EQ(::symlink(dir_.c_str(), (dir_ + "/tree/a/link").c_str()), 0);
  ASSERT_TRUE(RemoveTree(dir_ + "/tree"));
  EXPECT_FALSE(Exists(dir_ + "/tree"));
  EXPECT_TRUE(Exists(dir_ + "/kept"));
  EXPECT_TRUE(RemoveTree(dir_ + "/tree")) << "absence is success";
}

}  // namespace
}  // namespace tinderbox::sys
