// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/cgroup.h"

#include <gmock/gmock.h>

namespace tinderbox::sys {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr char kHybrid[] =
    "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
    "42 31 0:32 / /elsewhere/memory rw,relatime - cgroup cgroup rw,memory\n"
    "broken line\n";

TEST(CgroupTest, FindsTheHierarchiesThatMatter) {
  EXPECT_THAT(ParseCgroupMounts(kHybrid),
              ElementsAre(CgroupHierarchy{false, "/sys/fs/cgroup/cpu,cpuacct", {"cpu"}},
                          CgroupHierarchy{false, "/sys/fs/cgroup/memory", {"memory"}},
                          CgroupHierarchy{true, "/sys/fs/cgroup/unified", {}}));
  EXPECT_THAT(ParseCgroupMounts(""), IsEmpty());
}

TEST(CgroupTest, EmptyV2BesideV1IsLeftOut) {
  const CgroupHierarchy v1{false, "/v1", {"memory"}};
  const CgroupHierarchy empty{true, "/v2", {"hugetlb"}};
  const CgroupHierarchy full{true, "/v2", {"cpu", "memory", "pids"}};
  EXPECT_THAT(UsefulCgroups({v1, empty}), ElementsAre(v1));
  EXPECT_THAT(UsefulCgroups({v1, full}), ElementsAre(v1, full));
  EXPECT_THAT(UsefulCgroups({empty}), ElementsAre(empty));
}

TEST(CgroupTest, NamesStayBelowTheirRoot) {
  for (const char* good : {"a", "tinderbox/vm-1", "a.slice/b.service/c/d", "A_9"}) {
    EXPECT_TRUE(IsValidCgroupName(good)) << good;
  }
  for (const char* bad : {"", "/a", "a/", "a//b", "..", "a/../b", ".", "a b", "a/b/c/d/e", "ä"}) {
    EXPECT_FALSE(IsValidCgroupName(bad)) << bad;
  }
  EXPECT_FALSE(Cgroup::Create({}, "../x", {}));
  EXPECT_FALSE(RemoveCgroup({}, "../x", base::Deadline::After({})));
}

TEST(CgroupTest, WithoutHierarchiesEveryLimitIsMissing) {
  auto group = Cgroup::Create({}, "x", {.memory_bytes = 1, .cpus = 1, .pids = 1});
  ASSERT_TRUE(group);
  EXPECT_EQ(group->missing_limits().size(), 3u);
  EXPECT_EQ(Cgroup::Create({}, "x", {.pids = 1})->missing_limits().size(), 1u);
  EXPECT_EQ(Cgroup::Create({}, "x", {})->missing_limits().size(), 0u);
}

}  // namespace
}  // namespace tinderbox::sys
