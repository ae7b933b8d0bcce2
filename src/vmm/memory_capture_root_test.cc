// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "sys/file.h"
#include "vmm/driver.h"
#include "vmm/launch_test_fixture.h"
#include "vmm/memory_capture.h"

namespace tinderbox::vmm {
namespace {

using base::Deadline;
using std::chrono::seconds;

constexpr std::size_t kSize = 8 << 20;
constexpr std::size_t kPage = 4096;

class ROOT_MemoryCapture : public LaunchTest {
 protected:
  void SetUp() override {
    LaunchTest::SetUp();
    if (IsSkipped()) return;
    std::string pattern = "/tmp/tinderbox-capture-test-XXXXXX";
    files_ = ::mkdtemp(pattern.data());
    base_ = files_ + "/base";
    ASSERT_TRUE(sys::WriteFileAtomic(base_, ""));
    ASSERT_EQ(::truncate(base_.c_str(), kSize), 0);
    auto spec = Spec({"flip"});
    spec.binds = {{base_, kJailMemory, true}};
    vm_ = Start(spec);
    ASSERT_TRUE(vm_);
    AwaitConsole(*vm_, "ready");
  }
  void TearDown() override {
    LaunchTest::TearDown();
    if (!files_.empty()) EXPECT_TRUE(sys::RemoveTree(files_));
  }
  // The file as it is after a capture of a VMM that stood still for it.
  void ExpectWhole(const std::string& path) {
    const auto bytes = sys::ReadFile(path, 2 * kSize);
    ASSERT_TRUE(bytes) << bytes.error().ToString();
    ASSERT_EQ(bytes->size(), kSize) << "as large as guest memory, whatever the VMM has mapped";
    EXPECT_EQ((*bytes)[0], 'A');
    EXPECT_EQ((*bytes)[kSize - 1], 'Z');
    EXPECT_EQ((*bytes)[kPage], (*bytes)[kSize / 2]) << "of one moment";
    EXPECT_EQ((*bytes)[2 * kPage], 0);
  }
  static base::Deadline Soon() { return Deadline::After(seconds(30)); }

  std::string files_, base_;
  std::unique_ptr<LaunchedVm> vm_;
};

TEST_F(ROOT_MemoryCapture, OfAVmmThatChangesItsMappings) {
  for (int round = 0; round < 40; ++round) {
    const std::string path = fmt::format("{}/part-{}", files_, round);
    const auto to = sys::Open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    ASSERT_TRUE(to);
    auto capture = MemoryCapture::Open(*vm_, kJailMemory);
    ASSERT_TRUE(capture) << capture.error().ToString();
    EXPECT_EQ(capture->size(), kSize);
    // While it runs, and then what has changed since.
    const auto saved = capture->SaveChanges(base_, *to, Soon());
    ASSERT_TRUE(saved) << saved.error().ToString();
    {
      const auto frozen = capture->Freeze(Soon());
      ASSERT_TRUE(frozen) << frozen.error().ToString();
      const auto updated = capture->UpdateChanges(*to, Soon());
      ASSERT_TRUE(updated) << updated.error().ToString();
      EXPECT_LE(*updated, 4 * kPage) << "what it has changed, and nothing else";
    }
    ExpectWhole(path);
    if (HasFailure()) return;
  }
}

TEST_F(ROOT_MemoryCapture, OfAllItsMemory) {
  for (int round = 0; round < 10; ++round) {
    const std::string path = fmt::format("{}/whole-{}", files_, round);
    const auto to = sys::Open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    ASSERT_TRUE(to);
    auto capture = MemoryCapture::Open(*vm_, kJailMemory);
    ASSERT_TRUE(capture) << capture.error().ToString();
    {
      const auto frozen = capture->Freeze(Soon());
      ASSERT_TRUE(frozen) << frozen.error().ToString();
      const auto saved = capture->SaveAll(*to, Soon());
      ASSERT_TRUE(saved) << saved.error().ToString();
      EXPECT_LE(*saved, 4 * kPage);
    }
    ExpectWhole(path);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace tinderbox::vmm
