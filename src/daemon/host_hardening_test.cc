// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "daemon/host_hardening.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "sys/file.h"

namespace tinderbox::daemon {
namespace {

// Files of /proc and /sys as a test writes them.
class HardeningTest : public testing::Test {
 protected:
  HardeningTest() {
    std::string pattern = testing::TempDir() + "tinderbox-hardening-XXXXXX";
    root_ = ::mkdtemp(pattern.data());
    Write("/proc/swaps", kNoSwap);
    Write("/sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected\n");
  }
  ~HardeningTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    ASSERT_TRUE(sys::MakeDirs(root_ + path.substr(0, path.rfind('/'))));
    ASSERT_TRUE(sys::WriteFileAtomic(root_ + path, text));
  }
  api::Check Of(const std::string& name) {
    for (const api::Check& check : CheckHardening(root_)) {
      EXPECT_NE(check.status, "fail");
      EXPECT_EQ(check.remedy.empty(), check.status == "ok") << check.name;
      if (check.name == name) return check;
    }
    ADD_FAILURE() << name;
    return {};
  }

  static constexpr char kNoSwap[] = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
  std::string root_;
};

TEST_F(HardeningTest, AHostThatIsAsItShouldBe) {
  Write("/sys/kernel/mm/ksm/run", "0\n");
  Write("/sys/devices/system/cpu/smt/active", "0\n");
  Write("/sys/devices/system/cpu/vulnerabilities/spectre_v2", "Mitigation: Retpolines\n");
  for (const api::Check& check : CheckHardening(root_)) EXPECT_EQ(check.status, "ok") << check.name;
}

TEST_F(HardeningTest, SwapMustBeEncryptedOrOff) {
  EXPECT_EQ(Of("swap").detail, "off");
  Write("/proc/swaps",
        std::string(kNoSwap) + "/dev/sda2  partition\t1\t0\t-2\n/swap file\t1\t0\t-3\n");
  EXPECT_EQ(Of("swap").status, "warn");
  EXPECT_EQ(Of("swap").detail, "not encrypted: /dev/sda2, /swap");
  Write("/proc/swaps", std::string(kNoSwap) + "/dev/dm-1  partition\t1\t0\t-2\n");
  EXPECT_EQ(Of("swap").status, "warn") << "a volume without encryption";
  Write("/sys/class/block/dm-1/dm/uuid", "CRYPT-PLAIN-swap\n");
  EXPECT_EQ(Of("swap").status, "ok");
  Write("/proc/swaps", std::string(kNoSwap) + "/dev/zram0  partition\t1\t0\t-2\n");
  EXPECT_EQ(Of("swap").status, "ok");
}

TEST_F(HardeningTest, KsmAndSmt) {
  EXPECT_EQ(Of("ksm").status, "ok") << "a kernel without it";
  EXPECT_EQ(Of("smt").status, "ok");
  Write("/sys/kernel/mm/ksm/run", "1\n");
  Write("/sys/devices/system/cpu/smt/active", "1\n");
  EXPECT_EQ(Of("ksm").status, "warn");
  EXPECT_EQ(Of("smt").status, "warn");
  Write("/sys/kernel/mm/ksm/run", "2\n");
  EXPECT_EQ(Of("ksm").status, "ok");
}

TEST_F(HardeningTest, CpuMitigations) {
  EXPECT_EQ(Of("cpu").status, "ok");
  const std::string folder = "/sys/devices/system/cpu/vulnerabilities/";
  Write(folder + "spectre_v2", "Mitigation: Retpolines; SMT vulnerable\n");
  EXPECT_EQ(Of("cpu").status, "ok") << "that is the check of SMT";
  Write(folder + "spec_store_bypass", "Vulnerable\n");
  Write(folder + "itlb_multihit", "KVM: Vulnerable\n");
  EXPECT_EQ(Of("cpu").detail, "no mitigation for itlb_multihit, spec_store_bypass");
  EXPECT_NE(Of("cpu").remedy.find("mitigations=off"), std::string::npos);
  Write(folder + "mds", "Vulnerable: Clear CPU buffers attempted, no microcode\n");
  EXPECT_NE(Of("cpu").remedy.find("microcode"), std::string::npos);
}

}  // namespace
}  // namespace tinderbox::daemon
