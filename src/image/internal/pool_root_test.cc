// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "image/internal/pool.h"
#include "image/internal/test_files.h"
#include "sys/file.h"
#include "sys/loop.h"
#include "sys/mount_table.h"
#include "sys/reflink.h"

namespace tinderbox::image {
namespace {

using base::Code;

constexpr std::uint64_t kMiB = 1 << 20;

// A state directory on a small tmpfs: no reflinks there, and its size is ours to choose.
class PoolRootTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
    ASSERT_EQ(::mount("tmpfs", dir_.path().c_str(), "tmpfs", 0, "size=1g"), 0);
    options_ = {.state_dir = dir_.path() + "/state", .image_bytes = 320 * kMiB};
  }
  void TearDown() override {
    static_cast<void>(sys::UnmountBelow(options_.state_dir + "/pool"));
    static_cast<void>(Pool::Close(options_.state_dir));
    // Unmounting and detaching must leave no loop device behind, whatever a test did.
    if (const auto image = sys::Open(Image(), O_RDWR)) {
      auto left = sys::FindLoop(*image);
      if (left && *left) static_cast<void>(sys::DetachLoop(*std::move(*left)));
    }
    static_cast<void>(sys::UnmountBelow(dir_.path()));
  }

  base::Result<Pool> Open() {
    return Pool::Open(options_, [this](std::string_view line) { progress_ += line; });
  }
  std::string Image() const { return options_.state_dir + "/pool.img"; }
  std::string PoolDir() const { return options_.state_dir + "/pool"; }
  // How many loop devices stand on the image: two would destroy it.
  int Loops() const {
    struct stat wanted{};
    if (::stat(Image().c_str(), &wanted) != 0) return 0;
    int loops = 0;
    for (int i = 0; i < 256; ++i) {
      const auto backing = sys::ReadFile(fmt::format("/sys/block/loop{}/loop/backing_file", i));
      if (backing && *backing == Image() + "\n") ++loops;
    }
    return loops;
  }
  void WriteFile(const std::string& name, std::string_view content) {
    ASSERT_TRUE(sys::WriteFileAtomic(PoolDir() + "/" + name, content));
  }
  std::string ReadFile(const std::string& name) {
    return sys::ReadFile(PoolDir() + "/" + name).value_or("(unreadable)");
  }

  const testing::TempDir dir_;
  Pool::Options options_;
  std::string progress_;
};

TEST_F(PoolRootTest, MakesAnXfsWithReflinksAndSaysSo) {
  const auto pool = Open();
  ASSERT_TRUE(pool) << pool.error().ToString();
  EXPECT_TRUE(pool->has_image());
  EXPECT_NE(progress_.find("XFS"), std::string::npos);
  EXPECT_TRUE(sys::HasReflinks(pool->dir()).value());
  EXPECT_EQ(Loops(), 1);
  const auto space = pool->Space();
  ASSERT_TRUE(space);
  EXPECT_GT(space->free_bytes, 100 * kMiB);
  EXPECT_LT(space->total_bytes, 320 * kMiB);
}

TEST_F(PoolRootTest, ClosesWithoutATrace) {
  ASSERT_TRUE(Open());
  ASSERT_TRUE(Pool::Close(options_.state_dir));
  EXPECT_EQ(Loops(), 0);
  EXPECT_FALSE(sys::FindMount(PoolDir()).value().has_value());
  EXPECT_TRUE(Pool::Close(options_.state_dir));
  EXPECT_TRUE(Pool::Close(dir_.path() + "/never-opened"));
}

TEST_F(PoolRootTest, KeepsItsContentOverCloseAndOpen) {
  ASSERT_TRUE(Open());
  WriteFile("kept", "content");
  ASSERT_TRUE(Pool::Close(options_.state_dir));
  EXPECT_FALSE(sys::Exists(PoolDir() + "/kept"));
  ASSERT_TRUE(Open());
  EXPECT_EQ(ReadFile("kept"), "content");
}

TEST_F(PoolRootTest, TakesOverWhatIsMounted) {
  ASSERT_TRUE(Open());
  WriteFile("kept", "content");
  ASSERT_TRUE(Open());
  EXPECT_EQ(Loops(), 1);
  EXPECT_EQ(ReadFile("kept"), "content");
}

TEST_F(PoolRootTest, TakesOverFromAProcessThatWasKilled) {
  const pid_t child = ::fork();
  if (child == 0) {
    const auto pool = Open();
    if (pool) static_cast<void>(sys::WriteFileAtomic(pool->dir() + "/kept", "content"));
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  ASSERT_TRUE(Open());
  EXPECT_EQ(Loops(), 1);
  EXPECT_EQ(ReadFile("kept"), "content");
}

TEST_F(PoolRootTest, UsesADeviceThatIsAttachedButNotMounted) {
  ASSERT_TRUE(Open());
  WriteFile("kept", "content");
  ASSERT_TRUE(Pool::Close(options_.state_dir));
  const auto image = sys::Open(Image(), O_RDWR).value();
  const auto device = sys::AttachLoop(image, Image());
  ASSERT_TRUE(device) << device.error().ToString();
  ASSERT_TRUE(Open());
  EXPECT_EQ(Loops(), 1);
  EXPECT_EQ(sys::FindMount(PoolDir()).value()->source, device->path);
  EXPECT_EQ(ReadFile("kept"), "content");
}

TEST_F(PoolRootTest, OpensOnceForManyAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> opened = 0;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      if (Pool::Open(options_, [](std::string_view) {})) ++opened;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(opened, 6);
  EXPECT_EQ(Loops(), 1);
  ASSERT_TRUE(Pool::Close(options_.state_dir));
  EXPECT_FALSE(sys::FindMount(PoolDir()).value().has_value()) << "mounted more than once";
}

TEST_F(PoolRootTest, ThrowsAwayAnImageThatWasNotFinished) {
  ASSERT_TRUE(sys::MakeDirs(options_.state_dir));
  ASSERT_TRUE(sys::WriteFileAtomic(Image() + ".new", "half an XFS"));
  ASSERT_TRUE(Open());
  EXPECT_FALSE(sys::Exists(Image() + ".new"));
}

TEST_F(PoolRootTest, ClonesAreIndependent) {
  ASSERT_TRUE(Open());
  const auto content = testing::Noise(8 * kMiB);
  WriteFile("base", content);
  const auto base = sys::Open(PoolDir() + "/base", O_RDWR).value();
  const auto clone = sys::Open(PoolDir() + "/clone", O_RDWR | O_CREAT, 0600).value();
  ASSERT_TRUE(sys::CloneFile(base, clone));
  ASSERT_EQ(::pwrite(clone.get(), "CLONE", 5, 4096), 5);
  ASSERT_EQ(::pwrite(base.get(), "BASE", 4, 1 << 20), 4);
  const auto changed = ReadFile("clone");
  EXPECT_EQ(changed.substr(4096, 5), "CLONE");
  EXPECT_EQ(changed.substr(1 << 20, 4), content.substr(1 << 20, 4));
  EXPECT_EQ(ReadFile("base").substr(4096, 5), content.substr(4096, 5));
}

TEST_F(PoolRootTest, ASparseImageGivesRoomBackToTheHost) {
  options_.sparse = true;
  ASSERT_TRUE(Open());
  const auto blocks = [&] { return sys::Stat(Image())->st_blocks * 512; };
  const auto before = blocks();
  WriteFile("big", testing::Noise(64 * kMiB));
  EXPECT_GT(blocks(), before + 60 * static_cast<std::int64_t>(kMiB));
  ASSERT_TRUE(sys::RemoveFile(PoolDir() + "/big"));
  ASSERT_TRUE(Pool::Close(options_.state_dir));
  EXPECT_LT(blocks(), before + 8 * static_cast<std::int64_t>(kMiB));
}

TEST_F(PoolRootTest, GrowsWhenItFills) {
  const auto pool = Open();
  ASSERT_TRUE(pool);
  const auto before = pool->Space()->total_bytes;
  EXPECT_GE(pool->Space()->most_bytes, before + 60 * kMiB);
  WriteFile("big", testing::Noise(220 * kMiB));
  const auto room = pool->EnsureRoom(16 * kMiB);
  ASSERT_TRUE(room) << room.error().ToString();
  EXPECT_GE(pool->Space()->total_bytes, before + 60 * kMiB);
  EXPECT_EQ(sys::ReadFile(PoolDir() + "/big", 256 * kMiB).value(), testing::Noise(220 * kMiB));
  EXPECT_EQ(Loops(), 1);
}

TEST_F(PoolRootTest, FinishesAGrowthThatWasCutShort) {
  const auto pool = Open();
  ASSERT_TRUE(pool);
  const auto before = pool->Space()->total_bytes;
  ASSERT_EQ(::truncate(Image().c_str(), 512 * kMiB), 0);
  EXPECT_EQ(pool->Space()->total_bytes, before);
  ASSERT_TRUE(Open());
  EXPECT_GE(pool->Space()->total_bytes, before + 180 * kMiB);
}

TEST_F(PoolRootTest, IsMadeNoLargerThanItsHostCanHold) {
  options_.image_bytes = 64ull << 30;
  options_.reserve_bytes = 128 * kMiB;
  options_.sparse = true;
  const auto pool = Open();
  ASSERT_TRUE(pool) << pool.error().ToString();
  EXPECT_LE(sys::Stat(Image())->st_size, 896 * static_cast<std::int64_t>(kMiB));
}

// All of the image is there from the start: what is written and synced in the pool lasts, however
// full its host is.
TEST_F(PoolRootTest, AHostThatFillsTakesNothingFromThePool) {
  ASSERT_TRUE(Open());
  const auto fill = sys::Open(dir_.path() + "/other", O_RDWR | O_CREAT, 0600).value();
  off_t filled = 0;
  while (::fallocate(fill.get(), 0, filled, kMiB) == 0) filled += kMiB;
  ASSERT_EQ(errno, ENOSPC);
  const auto content = testing::Noise(180 * kMiB);
  const auto file = sys::Open(PoolDir() + "/file", O_RDWR | O_CREAT, 0600).value();
  ASSERT_TRUE(sys::WriteAll(file, content));
  ASSERT_EQ(::fsync(file.get()), 0) << errno;
  ASSERT_EQ(::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED), 0);
  EXPECT_TRUE(sys::ReadFile(PoolDir() + "/file", 256 * kMiB).value() == content);
}

TEST_F(PoolRootTest, AnImageThatGrowsIsAllocatedToo) {
  const auto pool = Open();
  ASSERT_TRUE(pool);
  WriteFile("big", testing::Noise(220 * kMiB));
  ASSERT_TRUE(pool->EnsureRoom(16 * kMiB));
  const auto image = sys::Stat(Image()).value();
  EXPECT_GE(image.st_blocks * 512, image.st_size);
  EXPECT_GE(image.st_size, 380 * static_cast<off_t>(kMiB));
}

TEST_F(PoolRootTest, ANewImageLeavesMostToItsHost) {
  options_.image_bytes = 64ull << 30;
  ASSERT_TRUE(Open());
  EXPECT_LE(sys::Stat(Image())->st_size, 512 * static_cast<std::int64_t>(kMiB));
}

// The last of it is for the sandboxes that run.
TEST_F(PoolRootTest, NewWorkIsRefusedBeforeThePoolIsFull) {
  options_.reserve_bytes = 60 * kMiB;
  const auto pool = Open();
  ASSERT_TRUE(pool) << pool.error().ToString();
  // The host has more than the reserve, but too little for the image to grow.
  ASSERT_TRUE(sys::WriteFileAtomic(dir_.path() + "/other", std::string(620 * kMiB, 'x')));
  const auto fill = sys::Open(PoolDir() + "/big", O_RDWR | O_CREAT, 0600).value();
  const auto free = pool->Space()->free_bytes;
  ASSERT_EQ(::fallocate(fill.get(), 0, 0, static_cast<off_t>(free - 20 * kMiB)), 0);
  const auto room = pool->EnsureRoom(0);
  ASSERT_FALSE(room);
  EXPECT_EQ(room.error().code(), Code::kResourceExhausted);
  EXPECT_EQ(room.error().errno_value(), ENOSPC);
  EXPECT_GT(pool->Space()->free_bytes, 10 * kMiB);
}

TEST_F(PoolRootTest, RefusesWhenTheHostsDiskIsNearlyFull) {
  options_.reserve_bytes = 200 * kMiB;
  options_.sparse = true;
  const auto pool = Open();
  ASSERT_TRUE(pool) << pool.error().ToString();
  ASSERT_TRUE(pool->EnsureRoom(16 * kMiB));
  ASSERT_TRUE(sys::WriteFileAtomic(dir_.path() + "/other", std::string(750 * kMiB, 'x')));
  const auto room = pool->EnsureRoom(16 * kMiB);
  ASSERT_FALSE(room);
  EXPECT_EQ(room.error().code(), Code::kResourceExhausted);
  EXPECT_NE(room.error().remedy().find("Free disk space"), std::string::npos);
  EXPECT_LT(pool->Space()->free_bytes, 100 * kMiB);
}

TEST_F(PoolRootTest, RefusesToBeMadeOnAFullDisk) {
  ASSERT_TRUE(sys::WriteFileAtomic(dir_.path() + "/other", std::string(900 * kMiB, 'x')));
  const auto pool = Open();
  ASSERT_FALSE(pool);
  EXPECT_EQ(pool.error().code(), Code::kResourceExhausted);
  EXPECT_FALSE(pool.error().remedy().empty());
  EXPECT_FALSE(sys::Exists(Image()));
  EXPECT_FALSE(sys::Exists(Image() + ".new"));
}

TEST_F(PoolRootTest, RefusesAnImageThatIsTooSmall) {
  options_.image_bytes = 10 * kMiB;
  EXPECT_EQ(Open().error().code(), Code::kInvalidArgument);
}

TEST_F(PoolRootTest, SaysThatItsImageIsDamaged) {
  ASSERT_TRUE(Open());
  ASSERT_TRUE(Pool::Close(options_.state_dir));
  {
    const auto image = sys::Open(Image(), O_RDWR).value();
    ASSERT_EQ(::pwrite(image.get(), std::string(4096, 'x').data(), 4096, 0), 4096);
  }
  const auto pool = Open();
  ASSERT_FALSE(pool);
  EXPECT_EQ(pool.error().code(), Code::kDataLoss) << pool.error().ToString();
  EXPECT_NE(pool.error().remedy().find("xfs_repair"), std::string::npos);
  EXPECT_EQ(Loops(), 0);
}

TEST_F(PoolRootTest, RefusesWhatIsNotItsOwn) {
  ASSERT_TRUE(Open());
  ASSERT_TRUE(Pool::Close(options_.state_dir));
  ASSERT_EQ(::mount("tmpfs", PoolDir().c_str(), "tmpfs", 0, ""), 0);
  auto pool = Open();
  ASSERT_FALSE(pool);
  EXPECT_EQ(pool.error().code(), Code::kFailedPrecondition);
  ASSERT_EQ(::umount(PoolDir().c_str()), 0);
  ASSERT_TRUE(sys::WriteFileAtomic(PoolDir() + "/precious", ""));
  pool = Open();
  ASSERT_FALSE(pool);
  EXPECT_EQ(pool.error().code(), Code::kFailedPrecondition);
  EXPECT_NE(pool.error().message().find("not empty"), std::string::npos);
}

TEST_F(PoolRootTest, IsNotClosedWhileInUse) {
  ASSERT_TRUE(Open());
  {
    const auto used = sys::Open(PoolDir() + "/file", O_RDWR | O_CREAT, 0600).value();
    const auto closed = Pool::Close(options_.state_dir);
    ASSERT_FALSE(closed);
    EXPECT_EQ(closed.error().code(), Code::kFailedPrecondition);
    EXPECT_NE(closed.error().message().find(fmt::format("process {} (", ::getpid())),
              std::string::npos)
        << closed.error().message();
    EXPECT_EQ(Loops(), 1);
  }
  EXPECT_TRUE(Pool::Close(options_.state_dir));
  EXPECT_EQ(Loops(), 0);
}

// Any process that looks for a loop device (losetup, another daemon) opens this one for a moment,
// and the kernel then detaches it only after its last user has closed it.
TEST_F(PoolRootTest, IsClosedWhileAnotherProcessLooksAtItsDevice) {
  ASSERT_TRUE(Open());
  const auto image = sys::Open(Image(), O_RDWR).value();
  auto other = sys::FindLoop(image).value();
  std::thread looks([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    other.reset();
  });
  const auto closed = Pool::Close(options_.state_dir);
  looks.join();
  EXPECT_TRUE(closed) << closed.error().ToString();
  EXPECT_EQ(Loops(), 0);
}

// Another mount namespace may hold a copy of the mount, which this one's table does not show.
TEST_F(PoolRootTest, NamesWhoHoldsACopyInAnotherNamespace) {
  ASSERT_TRUE(Open());
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t holder = ::fork();
  if (holder == 0) {
    const bool apart = ::unshare(CLONE_NEWNS) == 0 &&
                       ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
    if (apart && ::write(ready[1], "x", 1) == 1) ::pause();
    ::_exit(1);
  }
  ::close(ready[1]);
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  ::close(ready[0]);
  const auto closed = Pool::Close(options_.state_dir);
  ::kill(holder, SIGKILL);
  ::waitpid(holder, nullptr, 0);
  ASSERT_FALSE(closed);
  EXPECT_NE(closed.error().message().find(fmt::format("process {} (", holder)), std::string::npos)
      << closed.error().message();
  EXPECT_NE(closed.error().message().find("in a mount namespace of its own"), std::string::npos);
  EXPECT_TRUE(Pool::Close(options_.state_dir));
  EXPECT_EQ(Loops(), 0);
}

TEST_F(PoolRootTest, NeedsNoImageWhereReflinksAre) {
  ASSERT_TRUE(Open());  // its XFS plays a host file system with reflinks
  Pool::Options inner = options_;
  inner.state_dir = PoolDir() + "/inner";
  const auto pool = Pool::Open(inner, [](std::string_view) {});
  ASSERT_TRUE(pool) << pool.error().ToString();
  EXPECT_FALSE(pool->has_image());
  EXPECT_FALSE(sys::Exists(inner.state_dir + "/pool.img"));
  EXPECT_TRUE(pool->EnsureRoom(kMiB));
  // A guest's setuid file or device node is nothing for the host's users, here as in an image.
  const auto flags = [&] {
    struct statvfs fs{};
    EXPECT_EQ(::statvfs((inner.state_dir + "/pool").c_str(), &fs), 0);
    return fs.f_flag & (ST_NOSUID | ST_NODEV | ST_NOEXEC);
  };
  EXPECT_EQ(flags(), ST_NOSUID | ST_NODEV | ST_NOEXEC);
  ASSERT_TRUE(sys::WriteFileAtomic(inner.state_dir + "/pool/kept", "x"));
  EXPECT_TRUE(Pool::Open(inner, [](std::string_view) {})) << "taken over";
  EXPECT_TRUE(Pool::Close(inner.state_dir));
  EXPECT_FALSE(sys::FindMount(inner.state_dir + "/pool").value());
  EXPECT_TRUE(sys::Exists(inner.state_dir + "/pool/kept"));
  EXPECT_TRUE(Pool::Open(inner, [](std::string_view) {}));
  EXPECT_TRUE(sys::Exists(inner.state_dir + "/pool/kept"));
  EXPECT_TRUE(Pool::Close(inner.state_dir));
}

}  // namespace
}  // namespace tinderbox::image
