// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Writes that succeed and are lost later: a file system on a loop device whose own host is full.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <utility>

#include "sys/file.h"
#include "sys/loop.h"
#include "sys/pidfd.h"
#include "sys/tool.h"
#include "vmm/disk_check.h"

namespace tinderbox::vmm {
namespace {

using base::Code;
using base::Deadline;
using base::Fail;
using base::Result;

constexpr std::size_t kMiB = 1 << 20;

// This very process plays the VMM: it has the disk open.
class OwnProcess final : public LaunchedVm {
 public:
  const std::string& id() const override { return name_; }
  const std::string& run_dir() const override { return name_; }
  pid_t warden_pid() const override { return ::getpid(); }
  pid_t vmm_pid() const override { return ::getpid(); }
  sys::FdRef pidfd() const override { return pidfd_; }
  Result<sys::UniqueFd> ConnectApi(Deadline) override { return Fail(Code::kUnimplemented, ""); }
  Result<ExitStatus> Wait(Deadline) override { return Fail(Code::kDeadlineExceeded, "it lives"); }
  Result<ExitStatus> Stop(std::optional<std::chrono::milliseconds>) override {
    return Fail(Code::kUnimplemented, "");
  }
  Result<ExitStatus> Kill() override { return Fail(Code::kUnimplemented, ""); }
  Result<std::string> ConsoleTail(std::size_t) override { return Fail(Code::kUnimplemented, ""); }

 private:
  const std::string name_ = "own";
  const sys::UniqueFd pidfd_ = sys::OpenPidFd(::getpid()).value();
};

class DiskCheckTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/tinderbox-disk-check-XXXXXX";
    dir_ = ::mkdtemp(pattern.data());
    host_ = dir_ + "/host";
    pool_ = dir_ + "/pool";
    ASSERT_TRUE(sys::MakeDirs(host_));
    ASSERT_TRUE(sys::MakeDirs(pool_));
    ASSERT_EQ(::mount("tmpfs", host_.c_str(), "tmpfs", 0, "size=48m"), 0);
    const std::string path = host_ + "/image";
    const auto image = sys::Open(path, O_RDWR | O_CREAT, 0600).value();
    ASSERT_EQ(::ftruncate(image.get(), 64 * kMiB), 0);
    sys::ToolSpec mkfs;
    mkfs.argv = {"mkfs.ext4", "-q", "-b", "4096", "-O", "^has_journal", path};
    mkfs.deadline = Deadline::After(std::chrono::seconds(30));
    ASSERT_EQ(sys::RunTool(mkfs)->exit_code, 0);
    const auto device = sys::AttachLoop(image, path);
    ASSERT_TRUE(device) << device.error().ToString();
    ASSERT_EQ(::mount(device->path.c_str(), pool_.c_str(), "ext4", 0, ""), 0);
    disk_ = pool_ + "/disk.img";
    opened_ = sys::Open(disk_, O_RDWR | O_CREAT, 0600).value();
  }
  void TearDown() override {
    opened_.Reset();
    ::umount2(pool_.c_str(), MNT_DETACH);
    ::umount2(host_.c_str(), MNT_DETACH);
    EXPECT_TRUE(sys::RemoveTree(dir_));
  }
  void FillTheHost() const {
    const auto fill = sys::Open(host_ + "/fill", O_RDWR | O_CREAT, 0600).value();
    off_t at = 0;
    while (::fallocate(fill.get(), 0, at, 64 << 10) == 0) at += 64 << 10;
  }
  void Write(std::size_t mib) const {
    const std::string data(mib * kMiB, 'x');
    ASSERT_TRUE(sys::WriteAll(opened_, data));  // the page cache takes it
  }

  std::string dir_, host_, pool_, disk_;
  sys::UniqueFd opened_;  // since the VM's start
  OwnProcess vm_;
};

TEST_F(DiskCheckTest, FindsWhatWasLostThoughOthersWereToldOfItFirst) {
  EXPECT_TRUE(CheckDisk(vm_, disk_, DiskSync::kFlush));
  FillTheHost();
  Write(16);
  auto other = sys::Open(disk_, O_RDONLY).value();
  ASSERT_NE(::fsync(other.get()), 0) << "nothing was lost";
  auto later = sys::Open(disk_, O_RDONLY).value();
  EXPECT_EQ(::fsync(later.get()), 0) << "the kernel tells a new descriptor once";
  // This process plays the VMM, which has only the one.
  other.Reset();
  later.Reset();
  const auto checked = CheckDisk(vm_, disk_, DiskSync::kLook);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code(), Code::kDataLoss) << checked.error().ToString();
  EXPECT_NE(checked.error().errno_value(), 0);
  EXPECT_TRUE(CheckDisk(vm_, disk_, DiskSync::kLook));
}

TEST_F(DiskCheckTest, FlushesFirst) {
  FillTheHost();
  Write(16);
  const auto checked = CheckDisk(vm_, disk_, DiskSync::kFlush);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code(), Code::kDataLoss) << checked.error().ToString();
}

TEST_F(DiskCheckTest, ADiskThatIsNotOpenIsNotFound) {
  const std::string other = pool_ + "/other.img";
  ASSERT_TRUE(sys::WriteFileAtomic(other, "x"));
  const auto checked = CheckDisk(vm_, other, DiskSync::kFlush);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code(), Code::kNotFound);
}

}  // namespace
}  // namespace tinderbox::vmm
