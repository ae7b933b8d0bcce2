// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/directory.h"

#include <gmock/gmock.h>

#include <cstdlib>

#include "sys/file.h"

namespace tinderbox::sys {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(DirectoryTest, NamesAreSortedAndAbsenceIsNone) {
  std::string dir = testing::TempDir() + "tinderbox-directory-XXXXXX";
  ASSERT_NE(::mkdtemp(dir.data()), nullptr);
  EXPECT_THAT(NamesIn(dir).value(), IsEmpty());
  ASSERT_TRUE(WriteFileAtomic(dir + "/b", ""));
  ASSERT_TRUE(MakeDirs(dir + "/a/below"));
  ASSERT_TRUE(WriteFileAtomic(dir + "/.hidden", ""));
  EXPECT_THAT(NamesIn(dir).value(), ElementsAre(".hidden", "a", "b"));
  EXPECT_EQ(NamesIn(dir + "/b").error().errno_value(), ENOTDIR);
  ASSERT_TRUE(RemoveTree(dir));
  EXPECT_THAT(NamesIn(dir).value(), IsEmpty());
}

}  // namespace
}  // namespace tinderbox::sys
