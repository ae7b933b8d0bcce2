// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <optional>
#include <string>

#include "sys/file.h"
#include "sys/loop.h"
#include "sys/reflink.h"

namespace tinderbox::sys {
namespace {

class LoopRootTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    file_ = Open("/tmp", O_TMPFILE | O_RDWR, 0600).value();
    ASSERT_EQ(::ftruncate(file_.get(), 1 << 20), 0);
  }
  std::uint64_t Size(const LoopDevice& device) {
    std::uint64_t bytes = 0;
    EXPECT_EQ(::ioctl(device.fd.get(), BLKGETSIZE64, &bytes), 0);
    return bytes;
  }
  UniqueFd file_;
};

TEST_F(LoopRootTest, AttachesFindsAndFreesItself) {
  std::optional<LoopDevice> device = AttachLoop(file_, "tinderbox-test").value();
  EXPECT_EQ(Size(*device), 1u << 20);
  const auto path = device->path;
  EXPECT_EQ(FindLoop(file_).value().value().path, path);
  device.reset();
  for (int i = 0; i < 500 && FindLoop(file_).value().has_value(); ++i) ::poll(nullptr, 0, 10);
  EXPECT_FALSE(FindLoop(file_).value().has_value()) << "its last user is gone";
}

TEST_F(LoopRootTest, ComparesFilesNotNames) {
  const auto device = AttachLoop(file_, "tinderbox-test");
  ASSERT_TRUE(device) << device.error().ToString();
  const auto other = Open("/tmp", O_TMPFILE | O_RDWR, 0600).value();
  EXPECT_FALSE(FindLoop(other).value().has_value());
}

TEST_F(LoopRootTest, SeesThatItsFileHasGrown) {
  const auto device = AttachLoop(file_, "tinderbox-test");
  ASSERT_TRUE(device) << device.error().ToString();
  ASSERT_EQ(::ftruncate(file_.get(), 3 << 20), 0);
  ASSERT_TRUE(RefreshLoopSize(*device));
  EXPECT_EQ(Size(*device), 3u << 20);
}

TEST_F(LoopRootTest, DetachesTwice) {
  auto device = AttachLoop(file_, "tinderbox-test");
  ASSERT_TRUE(device) << device.error().ToString();
  LoopDevice again{device->path, Open(device->path, O_RDWR).value()};
  EXPECT_TRUE(DetachLoop(*std::move(device)));
  EXPECT_TRUE(DetachLoop(std::move(again)));
  EXPECT_FALSE(FindLoop(file_).value().has_value());
}

TEST_F(LoopRootTest, TakesOnlyFiles) {
  const auto null = Open("/dev/null", O_RDWR).value();
  const auto device = AttachLoop(null, "/dev/null");
  ASSERT_FALSE(device);
  EXPECT_FALSE(device.error().remedy().empty());
}

TEST(ReflinkTest, ProbesWithoutATrace) {
  EXPECT_FALSE(HasReflinks("/no/such/directory"));
  // Procfs has no files of ours at all.
  const auto proc = HasReflinks("/proc");
  if (proc) {
    EXPECT_FALSE(*proc);
  }
}

}  // namespace
}  // namespace tinderbox::sys
