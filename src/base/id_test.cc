// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "base/id.h"

#include <gtest/gtest.h>

#include <set>

namespace tinderbox::base {
namespace {

TEST(Id, SandboxIdsAreWellFormedAndDiffer) {
  std::set<std::string> seen;
  for (int i = 0; i < 1000; ++i) {
    const std::string id = NewSandboxId();
    EXPECT_EQ(id.size(), 21u);
    EXPECT_EQ(id.front(), 'i');
    EXPECT_TRUE(IsValidVmId(id)) << id;
    EXPECT_EQ(id.find('-'), std::string::npos);
    seen.insert(id);
  }
  EXPECT_EQ(seen.size(), 1000u);
}

TEST(Id, VmIdsThatWouldNeedQuotingAreRefused) {
  EXPECT_TRUE(IsValidVmId("a"));
  EXPECT_TRUE(IsValidVmId("0-1"));
  EXPECT_TRUE(IsValidVmId(std::string(64, 'x')));
  for (const char* bad : {"", "-a", "a/b", "..", "a b", "A", "a_b", "a\n"}) {
    EXPECT_FALSE(IsValidVmId(bad)) << bad;
  }
  EXPECT_FALSE(IsValidVmId(std::string(65, 'x')));
}

TEST(Id, UuidHasVersionAndVariant) {
  const std::string uuid = NewUuid();
  ASSERT_EQ(uuid.size(), 36u);
  EXPECT_EQ(uuid[14], '4');
  EXPECT_NE(std::string("89ab").find(uuid[19]), std::string::npos);
}

}  // namespace
}  // namespace tinderbox::base
