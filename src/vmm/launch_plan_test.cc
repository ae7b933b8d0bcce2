// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/launch_plan.h"

#include <gmock/gmock.h>

#include <cstring>
#include <functional>

#include "vmm/launch_record.h"

namespace tinderbox::vmm {
namespace {

using base::Code;

LaunchSpec GoodSpec() {
  LaunchSpec spec;
  spec.id = "one";
  spec.run_dir = "/run/x/one";
  spec.warden = "/usr/libexec/warden";
  spec.vmm = "/usr/bin/vmm";
  spec.argv = {"vmm", "--flag"};
  spec.uid = 7;
  spec.gid = 8;
  return spec;
}

TEST(LaunchPlanTest, GoodSpecPasses) { EXPECT_TRUE(ValidateLaunchSpec(GoodSpec())); }

TEST(LaunchPlanTest, BadSpecsAreRefused) {
  const std::vector<std::function<void(LaunchSpec&)>> spoilers = {
      [](auto& s) { s.id = ""; },
      [](auto& s) { s.id = "UPPER"; },
      [](auto& s) { s.run_dir = "/run/../etc"; },
      [](auto& s) { s.run_dir = "/run//x"; },
      [](auto& s) { s.run_dir = "/run/x/"; },
      [](auto& s) { s.warden = "warden"; },
      [](auto& s) { s.vmm = "/usr/./vmm"; },
      [](auto& s) { s.uid = 0; },
      [](auto& s) { s.gid = 0; },
      [](auto& s) { s.argv = {}; },
      [](auto& s) { s.argv.resize(1000); },
      [](auto& s) { s.open_files = 3; },
      [](auto& s) { s.workspace_bytes = 0; },
      [](auto& s) { s.console_bytes = 1; },
      [](auto& s) { s.stop_grace = std::chrono::milliseconds(-1); },
      [](auto& s) { s.stop_grace = std::chrono::hours(25); },
      [](auto& s) { s.cgroup = "a/../b"; },
      [](auto& s) { s.binds = {{"relative", "/x"}}; },
      [](auto& s) { s.binds = {{"/a", "/x/../../y"}}; },
      [](auto& s) { s.binds = {{"/a", "/run"}}; },
      [](auto& s) { s.binds = {{"/a", "/dev/kvm"}}; },
      [](auto& s) { s.binds = {{"/a", "/"}}; },
      [](auto& s) { s.binds = {{"/a", "/x"}, {"/b", "/x"}}; },
  };
  for (std::size_t i = 0; i < spoilers.size(); ++i) {
    LaunchSpec spec = GoodSpec();
    spoilers[i](spec);
    const auto valid = ValidateLaunchSpec(spec);
    ASSERT_FALSE(valid) << i;
    EXPECT_EQ(valid.error().code(), Code::kInvalidArgument) << i;
  }
}

TEST(LaunchPlanTest, VmmStandsWhereItsLibrariesAre) {
  auto spec = GoodSpec();
  EXPECT_EQ(VmmPathInJail(spec), "/vmm");
  EXPECT_THAT(AllBinds(spec), testing::ElementsAre(JailBind{"/usr/bin/vmm", "/vmm", true}));
  spec.binds = {{"/usr", "/usr"}};
  EXPECT_EQ(VmmPathInJail(spec), "/usr/bin/vmm");
  EXPECT_EQ(AllBinds(spec).size(), 1u);
  spec.binds = {{"/us", "/us"}, {"/usr", "/elsewhere"}};
  EXPECT_EQ(VmmPathInJail(spec), "/vmm");
}

TEST(LaunchPlanTest, MessageHoldsEverythingInOrder) {
  auto spec = GoodSpec();
  spec.netns = "/run/netns/n";
  PlanParts parts;
  parts.cgroup_count = 2;
  parts.writable_bytes = 1u << 30;
  parts.binds = {{"/h/k", "/vmlinux"}, {"/usr", "/usr"}};
  parts.bind_is_directory = {false, true};
  parts.fail_at = "pivot";
  const auto message = EncodePlan(spec, parts).value();
  warden::Plan plan;
  ASSERT_GT(message.size(), sizeof plan);
  std::memcpy(&plan, message.data(), sizeof plan);
  EXPECT_EQ(plan.fail_step, static_cast<std::uint32_t>(warden::Step::kPivot));
  EXPECT_EQ(plan.uid, 7u);
  EXPECT_EQ(plan.gid, 8u);
  EXPECT_EQ(plan.has_netns, 1u);
  EXPECT_EQ(plan.arg_count, 2u);
  EXPECT_EQ(plan.file_bytes, 1u << 30);
  EXPECT_EQ(plan.may_fork, 0u);
  EXPECT_EQ(plan.cgroup_count, 2u);
  const std::string strings(reinterpret_cast<const char*>(message.data()) + sizeof plan,
                            message.size() - sizeof plan);
  using namespace std::string_literals;
  EXPECT_EQ(strings, "/run/x/one\0/vmm\0vmm\0--flag\0f/vmlinux\0d/usr\0"s);
}

TEST(LaunchPlanTest, OversizeIsRefusedNotCut) {
  auto spec = GoodSpec();
  spec.argv.emplace_back(warden::kMaxPlanBytes, 'x');
  EXPECT_EQ(EncodePlan(spec, {}).error().code(), Code::kInvalidArgument);
  PlanParts parts;
  parts.binds.resize(warden::kMaxBinds + 1);
  parts.bind_is_directory.resize(parts.binds.size());
  EXPECT_EQ(EncodePlan(GoodSpec(), parts).error().code(), Code::kInvalidArgument);
}

TEST(LaunchRecordTest, RoundTrip) {
  const VmRecord record{.id = "one",
                        .boot_id = "b-1",
                        .cgroup = "a/b",
                        .vmm = "/usr/bin/vmm",
                        .uid = 4000000000u,
                        .gid = 5,
                        .warden_pid = 77,
                        .warden_start = 123456789012ull,
                        .vmm_pid = 78,
                        .stop_grace = std::chrono::milliseconds(250)};
  EXPECT_EQ(ParseVmRecord(ToJson(record)).value(), record);
  const ExitStatus status{true, 9, "kill"};
  EXPECT_EQ(ParseExitStatus(ToJson(status)).value(), status);
}

TEST(LaunchRecordTest, DamageIsTold) {
  for (const char* bad :
       {"", "{", "[]", "{}", "{\"id\":\"../x\",\"bootID\":\"b\"}", "{\"id\":\"one\"}"}) {
    EXPECT_EQ(ParseVmRecord(bad).error().code(), Code::kDataLoss) << bad;
  }
  for (const char* bad : {"", "x", "{}", "{\"signalled\":1,\"code\":1}"}) {
    EXPECT_EQ(ParseExitStatus(bad).error().code(), Code::kDataLoss) << bad;
  }
}

}  // namespace
}  // namespace tinderbox::vmm
