// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "daemon/claim.h"
#include "sys/file.h"
#include "sys/pidfd.h"
#include "vmm/launch_record.h"

namespace tinderbox::daemon {
namespace {

using base::Code;
using testing::HasSubstr;
namespace fs = std::filesystem;

// A process that stands for a warden, in a run directory that says so.
class PretendVm {
 public:
  PretendVm(const std::string& run_dir, const std::string& id) {
    pid_ = ::fork();
    if (pid_ == 0) {
      ::pause();
      ::_exit(0);
    }
    const std::string dir = run_dir + "/vm/" + id;
    fs::create_directories(dir);
    const auto fd = sys::Open(dir, O_RDONLY | O_DIRECTORY);
    vmm::VmRecord record{.id = id, .boot_id = sys::BootId().value()};
    record.warden_pid = pid_;
    record.warden_start = sys::ProcessStartTime(pid_).value();
    EXPECT_TRUE(vmm::WriteRecord(*fd, record));
    EXPECT_TRUE(vmm::MakeExitFile(*fd));
  }
  ~PretendVm() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

 private:
  pid_t pid_ = 0;
};

class HostClaimTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "tb-claim-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    one_ = Make("one", "ta", "tinderbox-a", 1'910'000'000);
    two_ = Make("two", "tb", "tinderbox-b", 1'920'000'000);
  }
  void TearDown() override { fs::remove_all(dir_); }

  Config Make(const std::string& name, const std::string& prefix, const std::string& cgroup,
              std::uint32_t uid_base) {
    Config config;
    config.state_dir = dir_ + "/state-" + name;
    config.run_dir = dir_ + "/run-" + name;
    config.network.prefix = prefix;
    config.limits.cgroup = cgroup;
    config.limits.uid_base = uid_base;
    fs::create_directories(config.state_dir);
    fs::create_directories(config.run_dir);
    return config;
  }
  base::Result<HostClaim> Take(const Config& config) {
    return HostClaim::Take(config, HostClaim::Purpose::kServe, dir_ + "/claims");
  }
  // That the claim is refused, and why; nothing below `config`'s directories may have changed.
  void ExpectRefused(const Config& config, const std::string& why, const std::string& remedy) {
    const auto taken = Take(config);
    ASSERT_FALSE(taken) << why;
    EXPECT_THAT(taken.error().message(), HasSubstr(why));
    EXPECT_THAT(taken.error().message(), HasSubstr("nothing was changed"));
    EXPECT_THAT(taken.error().remedy(), HasSubstr(remedy));
  }
  // `work` in another process, while that has the claim of `config`.
  void WithOther(const Config& config, const std::function<void(pid_t)>& work) {
    int ready[2];
    ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      const auto taken = Take(config);
      if (!taken || ::write(ready[1], "x", 1) != 1) ::_exit(1);
      ::pause();
      ::_exit(0);
    }
    ::close(ready[1]);
    char byte = 0;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1) << "the other could not take its claim";
    work(child);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(ready[0]);
  }

  std::string dir_;
  Config one_, two_;
};

TEST_F(HostClaimTest, TwoThatShareNothingRunSideBySide) {
  WithOther(one_, [&](pid_t) {
    const auto taken = Take(two_);
    EXPECT_TRUE(taken) << taken.error().ToString();
  });
}

TEST_F(HostClaimTest, EachThingThatIsSharedIsRefusedWithItsOwner) {
  WithOther(one_, [&](pid_t pid) {
    const std::string who = fmt::format("process {}", pid);
    Config config = two_;
    config.state_dir = one_.state_dir;
    ExpectRefused(config, "state_dir", "set another state_dir");
    ExpectRefused(config, who, fmt::format("kill {}", pid));
    config = two_;
    config.run_dir = one_.run_dir;
    ExpectRefused(config, "run_dir", "set another run_dir");
    config = two_;
    config.network.prefix = one_.network.prefix;
    ExpectRefused(config, "network.prefix 'ta'", "Set another value");
    ExpectRefused(config, who, "");
    config = two_;
    config.limits.cgroup = one_.limits.cgroup;
    ExpectRefused(config, "limits.cgroup 'tinderbox-a'", "Set another value");
    config = two_;
    config.limits.uid_base = one_.limits.uid_base + 500;
    ExpectRefused(config, "uids 1910000501 to 1910000576", "Set another value");
    ExpectRefused(config, one_.state_dir, "");
    config.limits.uid_base = one_.limits.uid_base + 576;
    EXPECT_TRUE(Take(config));
  });
  EXPECT_TRUE(Take(one_)) << "a killed owner leaves all of it free";
}

TEST_F(HostClaimTest, OneThatHasStoppedKeepsWhatItsVmsUse) {
  ASSERT_TRUE(Take(one_));
  Config config = two_;
  config.limits.uid_base = one_.limits.uid_base;
  {
    const PretendVm vm(one_.run_dir, "i1");
    EXPECT_EQ(LiveVms(one_.run_dir, one_.state_dir), 1u);
    ExpectRefused(config, "whose sandboxes run", "Set another value");
    config = two_;
    config.run_dir = one_.run_dir;
    ExpectRefused(config, "holds 1 running sandboxes of state_dir '" + one_.state_dir,
                  "another run_dir");
    EXPECT_TRUE(Take(one_)) << "its own daemon takes them up";
  }
  EXPECT_TRUE(Take(config));
}

TEST_F(HostClaimTest, WhatVmsAreBoundToDoesNotChangeWhileTheyRun) {
  ASSERT_TRUE(Take(one_));
  {
    const PretendVm vm(one_.run_dir, "i1");
    Config config = one_;
    config.network.prefix = "tc";
    ExpectRefused(config, "network.prefix from 'ta' to 'tc' while 1 sandboxes run", "Set it back");
    config = one_;
    config.network.cidr = "10.99.0.0/16";
    ExpectRefused(config, "network.cidr", "Set it back");
    config = one_;
    config.limits.cgroup = "other";
    ExpectRefused(config, "limits.cgroup", "Set it back");
    config = one_;
    config.limits.uid_base += 1;
    ExpectRefused(config, "limits.uid_base", "Set it back");
    // A VM of the pool of ready VMs has no sandbox, and ends when the daemon restarts.
    fs::create_directories(one_.state_dir + "/pool/sandboxes/i1");
    std::ofstream(one_.state_dir + "/pool/sandboxes/i1/ephemeral") << "";
    EXPECT_TRUE(Take(config));
    fs::remove(one_.state_dir + "/pool/sandboxes/i1/ephemeral");
    ExpectRefused(one_, "limits.uid_base", "Set it back");
    EXPECT_TRUE(HostClaim::Take(one_, HostClaim::Purpose::kCleanUp, dir_ + "/claims"))
        << "they are going to be ended";
  }
}

TEST_F(HostClaimTest, AnEarlierRunDirectoryIsRemembered) {
  ASSERT_TRUE(Take(one_));
  const PretendVm vm(one_.run_dir, "i1");
  Config config = one_;
  config.run_dir = dir_ + "/run-new";
  fs::create_directories(config.run_dir);
  for (int i = 0; i < 2; ++i) {
    const auto taken = Take(config);
    ASSERT_TRUE(taken) << taken.error().ToString();
    EXPECT_EQ(taken->claim().former_run_dirs, std::vector{one_.run_dir});
  }
  // The VM there still counts.
  config.network.prefix = "tc";
  ExpectRefused(config, "while 1 sandboxes run", "Set it back");
}

TEST(ClaimText, IsReadAsItWasWritten) {
  const Claim claim{.state_id = "a",
                    .state_dir = "/s",
                    .run_dir = "/r",
                    .prefix = "p",
                    .cidr = "10.0.0.0/8",
                    .cgroup = "c",
                    .first_uid = 1'900'000'001,
                    .last_uid = 4'294'967'295,
                    .pid = 7,
                    .former_run_dirs = {"/x", "/y"}};
  EXPECT_EQ(*ParseClaim(ToJson(claim)), claim);
  for (const char* bad : {"", "[]", "{}", "{\"stateId\":1,\"runDir\":[]}", "{\"stateId\":"}) {
    EXPECT_EQ(ParseClaim(bad).error().code(), Code::kDataLoss) << bad;
  }
}

}  // namespace
}  // namespace tinderbox::daemon
