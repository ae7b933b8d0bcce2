// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <unistd.h>

#include "base/id.h"
#include "sys/cgroup.h"
#include "sys/cgroup_limit.h"
#include "sys/file.h"
#include "sys/pidfd.h"
#include "sys/spawn.h"

namespace tinderbox::sys {
namespace {

using base::Deadline;
using std::chrono::seconds;
using testing::HasSubstr;

class ROOT_CgroupTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    all_ = ParseCgroupMounts(ReadFile("/proc/self/mountinfo").value());
    if (all_.empty()) GTEST_SKIP() << "this host has no cgroups mounted";
    parent_ = "tinderbox-sys-test-" + base::RandomHex(4);
  }
  void TearDown() override {
    for (const auto& hierarchy : all_) {
      EXPECT_FALSE(Exists(hierarchy.path + "/" + parent_)) << "left behind";
    }
  }
  std::vector<CgroupHierarchy> all_;  // v2 without controllers included
  std::string parent_;
};

TEST_F(ROOT_CgroupTest, MadeInEveryHierarchyAndUndoneInAll) {
  auto group = Cgroup::Create(all_, parent_ + "/one", {.memory_bytes = 64 << 20, .pids = 10});
  ASSERT_TRUE(group) << group.error().ToString();
  for (const auto& hierarchy : all_) {
    EXPECT_TRUE(Exists(hierarchy.path + "/" + parent_ + "/one"));
  }
  EXPECT_EQ(Cgroup::Create(all_, parent_ + "/one", {}).error().code(), base::Code::kAlreadyExists);
  EXPECT_TRUE(Exists(all_[0].path + "/" + parent_ + "/one")) << "somebody else's is not undone";
  EXPECT_TRUE(group->Undo(Deadline::After(seconds(2))));
}

TEST_F(ROOT_CgroupTest, ChildIsBornInTheV2GroupAndDiesWithIt) {
  const auto v2 = std::ranges::find(all_, true, &CgroupHierarchy::v2);
  if (v2 == all_.end()) GTEST_SKIP() << "no cgroup v2 here";
  auto group = Cgroup::Create({*v2}, parent_, {});
  ASSERT_TRUE(group) << group.error().ToString();
  const auto child = Spawn(
      {.path = "/bin/sleep", .argv = {"sleep", "60"}, .cgroup_fd = group->v2_directory().get()});
  ASSERT_TRUE(child) << child.error().ToString();
  EXPECT_THAT(ReadFile(fmt::format("/proc/{}/cgroup", child->pid)).value(),
              HasSubstr("0::/" + parent_ + "\n"));
  EXPECT_EQ(RemoveCgroup(all_, parent_, Deadline::After({})).error().code(),
            base::Code::kFailedPrecondition)
      << "not while there is somebody in it";
  EXPECT_TRUE(KillCgroup({*v2}, parent_));
  EXPECT_TRUE(WaitPidFd(child->pidfd, Deadline::After(seconds(10))).value());
  ReapPidFd(child->pidfd);
  EXPECT_TRUE(RemoveCgroup(all_, parent_, Deadline::After(seconds(2))));
  EXPECT_TRUE(RemoveCgroup(all_, parent_, Deadline::After(seconds(2)))) << "absence is success";
}

TEST_F(ROOT_CgroupTest, AGroupIsLimitedWithAllBelowIt) {
  const auto memory = std::ranges::find_if(all_, [](const CgroupHierarchy& hierarchy) {
    return std::ranges::count(hierarchy.controllers, "memory") == 1;
  });
  const bool v2_has_it = std::ranges::count(HostCgroups(), true, &CgroupHierarchy::v2) == 1;
  if (memory == all_.end() && !v2_has_it) GTEST_SKIP() << "no memory controller here";
  const std::string root = v2_has_it ? HostCgroups()[0].path : memory->path;
  const char* const file = v2_has_it ? "memory.max" : "memory.limit_in_bytes";
  for (const std::uint64_t bytes : {std::uint64_t{256} << 20, std::uint64_t{512} << 20}) {
    const auto limited = LimitGroupMemory(HostCgroups(), parent_, bytes);
    ASSERT_TRUE(limited) << limited.error().ToString();
    EXPECT_EQ(ReadFile(fmt::format("{}/{}/{}", root, parent_, file)).value(),
              std::to_string(bytes) + "\n");
  }
  EXPECT_EQ(LimitGroupMemory(HostCgroups(), "../x", 1).error().code(),
            base::Code::kInvalidArgument);
  EXPECT_EQ(LimitGroupMemory({}, parent_, 1).error().code(), base::Code::kUnimplemented);
  EXPECT_TRUE(RemoveCgroup(HostCgroups(), parent_, Deadline::After(seconds(2))));
}

}  // namespace
}  // namespace tinderbox::sys
