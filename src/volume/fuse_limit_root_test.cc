// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// A volume's limit, tested by a guest that tries to exceed it.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "sys/file.h"
#include "volume/fuse_server.h"
#include "volume/usage.h"

namespace tinderbox::volume {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kLimit = 8 * kMiB;

template <typename T>
std::string Bytes(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::string Text(const std::string& text) { return text + '\0'; }

class FuseLimitTest : public testing::Test {
 protected:
  struct File {
    std::uint64_t node = 0;
    std::uint64_t handle = 0;
  };

  void SetUp() override {
    std::string pattern = "/var/tmp/tb-limit-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    usage_ = Usage::Create(kLimit).value();
    server_ = NewServer();
  }
  void TearDown() override {
    server_.reset();
    std::filesystem::remove_all(dir_);
  }
  std::unique_ptr<FuseServer> NewServer() const {
    return std::make_unique<FuseServer>(*sys::Open(dir_, O_PATH | O_DIRECTORY), 0, usage_);
  }

  int Ask(std::uint32_t opcode, std::uint64_t node, const std::string& body,
          std::string* answer = nullptr) {
    fuse_in_header head{};
    head.len = static_cast<std::uint32_t>(sizeof head + body.size());
    head.opcode = opcode;
    head.nodeid = node;
    const std::string message = Bytes(head) + body;
    std::string_view raw;
    EXPECT_TRUE(server_->Handle(message, raw));
    fuse_out_header out{};
    std::memcpy(&out, raw.data(), sizeof out);
    if (answer != nullptr) *answer = raw.substr(sizeof out);
    return out.error;
  }
  File Create(const std::string& name) {
    std::string answer;
    EXPECT_EQ(
        Ask(FUSE_CREATE, 1,
            Bytes(fuse_create_in{.flags = O_RDWR | O_CREAT, .mode = 0644}) + Text(name), &answer),
        0);
    fuse_entry_out entry{};
    fuse_open_out open{};
    std::memcpy(&entry, answer.data(), sizeof entry);
    std::memcpy(&open, answer.data() + sizeof entry, sizeof open);
    return {.node = entry.nodeid, .handle = open.fh};
  }
  int Allocate(const File& file, std::uint64_t offset, std::uint64_t length, int mode = 0) {
    fuse_fallocate_in in{};
    in.fh = file.handle;
    in.offset = offset;
    in.length = length;
    in.mode = static_cast<std::uint32_t>(mode);
    return Ask(FUSE_FALLOCATE, file.node, Bytes(in));
  }
  int Write(const File& file, std::uint64_t offset, std::size_t size) {
    fuse_write_in in{};
    in.fh = file.handle;
    in.offset = offset;
    in.size = static_cast<std::uint32_t>(size);
    return Ask(FUSE_WRITE, file.node, Bytes(in) + std::string(size, 'x'));
  }
  int Truncate(const File& file, std::uint64_t size) {
    fuse_setattr_in in{};
    in.valid = FATTR_SIZE;
    in.size = size;
    return Ask(FUSE_SETATTR, file.node, Bytes(in));
  }
  int Release(const File& file) {
    return Ask(FUSE_RELEASE, file.node, Bytes(fuse_release_in{.fh = file.handle}));
  }
  int Unlink(const std::string& name) { return Ask(FUSE_UNLINK, 1, Text(name)); }
  // The count equals the volume's contents.
  void ExpectExact() {
    const auto counted = usage_->used();
    ASSERT_TRUE(usage_->Recount(*sys::Open(dir_, O_PATH | O_DIRECTORY)));
    EXPECT_EQ(counted, usage_->used());
  }

  std::string dir_;
  std::shared_ptr<Usage> usage_;
  std::unique_ptr<FuseServer> server_;
};

TEST_F(FuseLimitTest, AllocationEndsAtTheLimit) {
  const File file = Create("f");
  EXPECT_EQ(Allocate(file, 0, 6 * kMiB), 0);
  EXPECT_EQ(Allocate(Create("g"), 0, 3 * kMiB), -EDQUOT);
  EXPECT_LT(Allocate(file, 0, 1ull << 40), 0);
  EXPECT_EQ(Allocate(file, 6 * kMiB, kMiB), 0);
  ExpectExact();
  EXPECT_TRUE(usage_->TakeRefused());
  EXPECT_FALSE(usage_->TakeRefused());
}

TEST_F(FuseLimitTest, WritesEndAtTheLimitAndOverwritesGoOn) {
  const File file = Create("f");
  std::uint64_t written = 0;
  while (Write(file, written, 128 << 10) == 0 && written < 2 * kLimit) written += 128 << 10;
  EXPECT_LE(written, kLimit);
  EXPECT_GE(written, kLimit - kMiB);
  EXPECT_EQ(Write(file, written, 128 << 10), -EDQUOT);
  EXPECT_EQ(Write(file, 0, 128 << 10), 0);
  EXPECT_EQ(Write(file, written - (128 << 10), 128 << 10), 0);
  ExpectExact();
  EXPECT_EQ(Truncate(file, kMiB), 0);
  EXPECT_EQ(Write(file, kMiB, 128 << 10), 0);
  ExpectExact();
}

TEST_F(FuseLimitTest, ASparseFileCountsForWhatIsWritten) {
  const File file = Create("f");
  EXPECT_EQ(Truncate(file, 1ull << 30), 0);
  EXPECT_EQ(Write(file, 512 * kMiB, 4096), 0);
  EXPECT_LT(usage_->used(), kMiB);
  ExpectExact();
  EXPECT_EQ(Allocate(file, 0, 16 * kMiB), -EDQUOT);
}

TEST_F(FuseLimitTest, NothingHidesBeyondTheEnd) {
  const File file = Create("f");
  EXPECT_EQ(Allocate(file, 0, 4 * kMiB, FALLOC_FL_KEEP_SIZE), -EOPNOTSUPP);
  ASSERT_EQ(Truncate(file, 4 * kMiB), 0);
  EXPECT_EQ(Allocate(file, 0, 4 * kMiB, FALLOC_FL_KEEP_SIZE), 0);
  EXPECT_GE(usage_->used(), 4 * kMiB);
  EXPECT_EQ(Allocate(file, 0, 2 * kMiB, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE), 0);
  ExpectExact();
}

TEST_F(FuseLimitTest, RemovedFilesCountUntilTheyAreClosed) {
  for (int round = 0; round < 4; ++round) {
    const File file = Create("f");
    ASSERT_EQ(Allocate(file, 0, 6 * kMiB), 0) << round;
    ASSERT_EQ(Unlink("f"), 0);
    EXPECT_EQ(Allocate(Create("g"), 0, 3 * kMiB), -EDQUOT) << "its blocks are not free yet";
    ASSERT_EQ(Unlink("g"), 0);
    ASSERT_EQ(Release(file), 0);
  }
  EXPECT_LT(usage_->used(), kMiB);
}

// The guest knows it still, and never says that it forgets it.
TEST_F(FuseLimitTest, ARemovedFileThatIsNotForgottenIsFreed) {
  const File file = Create("f");
  ASSERT_EQ(Allocate(file, 0, 7 * kMiB), 0);
  ASSERT_EQ(Release(file), 0);
  ASSERT_EQ(Unlink("f"), 0);
  EXPECT_LT(usage_->used(), kMiB);
  bool open = false;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const std::string target = std::filesystem::read_symlink(entry.path(), gone);
    if (target.starts_with(dir_ + "/f")) open = true;
  }
  EXPECT_FALSE(open) << "a descriptor keeps its blocks";
}

TEST_F(FuseLimitTest, RenamesOverAFileAndLinksAreCountedOnce) {
  const File one = Create("one");
  const File two = Create("two");
  ASSERT_EQ(Allocate(one, 0, 2 * kMiB), 0);
  ASSERT_EQ(Allocate(two, 0, 3 * kMiB), 0);
  ASSERT_EQ(Release(one), 0);
  ASSERT_EQ(Release(two), 0);
  ASSERT_EQ(Ask(FUSE_LINK, 1, Bytes(fuse_link_in{.oldnodeid = two.node}) + Text("link")), 0);
  ExpectExact();
  ASSERT_EQ(Ask(FUSE_RENAME, 1, Bytes(fuse_rename_in{.newdir = 1}) + Text("one") + Text("link")),
            0);
  ExpectExact();
  ASSERT_EQ(Ask(FUSE_RENAME, 1, Bytes(fuse_rename_in{.newdir = 1}) + Text("link") + Text("two")),
            0);
  ExpectExact();
  EXPECT_LT(usage_->used(), 3 * kMiB);
}

TEST_F(FuseLimitTest, EmptyFilesCountToo) {
  usage_ = Usage::Create(64 << 10).value();
  server_ = NewServer();
  int made = 0;
  while (made < 1000 && Ask(FUSE_MKNOD, 1,
                            Bytes(fuse_mknod_in{.mode = S_IFREG | 0644}) +
                                Text("f" + std::to_string(made))) == 0) {
    ++made;
  }
  // The last name that is made may be one too many for a whole one.
  EXPECT_LE(made, 129);
  EXPECT_GE(made, 120);
}

TEST_F(FuseLimitTest, TruncationAtOpenGivesBack) {
  const File file = Create("f");
  ASSERT_EQ(Allocate(file, 0, 6 * kMiB), 0);
  ASSERT_EQ(Ask(FUSE_OPEN, file.node, Bytes(fuse_open_in{.flags = O_WRONLY | O_TRUNC})), 0);
  ExpectExact();
  EXPECT_LT(usage_->used(), kMiB);
}

TEST_F(FuseLimitTest, AClosedPoolTakesNothing) {
  const File file = Create("f");
  usage_->SetClosed(true);
  EXPECT_EQ(Write(file, 0, 4096), -ENOSPC);
  EXPECT_EQ(Allocate(file, 0, 4096), -ENOSPC);
  usage_->SetClosed(false);
  EXPECT_EQ(Write(file, 0, 4096), 0);
}

TEST_F(FuseLimitTest, TheGuestSeesTheLimitAsItsSpace) {
  ASSERT_EQ(Allocate(Create("f"), 0, 6 * kMiB), 0);
  std::string answer;
  ASSERT_EQ(Ask(FUSE_STATFS, 1, "", &answer), 0);
  fuse_statfs_out out{};
  std::memcpy(&out, answer.data(), sizeof out);
  EXPECT_EQ(out.st.blocks * out.st.frsize, kLimit);
  EXPECT_LE(out.st.bavail * out.st.frsize, 2 * kMiB);
  EXPECT_GE(out.st.bavail * out.st.frsize, kMiB);
}

// All servers of a volume share the page; the daemon sees what they write.
TEST_F(FuseLimitTest, ProcessesShareOnePage) {
  const auto other = Usage::Map(sys::UniqueFd(::dup(usage_->fd().get()))).value();
  other->Add(5 * kMiB);
  EXPECT_EQ(usage_->used(), 5 * kMiB);
  EXPECT_FALSE(other->Fits(4 * kMiB));
  EXPECT_TRUE(usage_->TakeRefused());
}

TEST_F(FuseLimitTest, ATreeThatIsTooDeepCountsAsFull) {
  const auto root = sys::Open(dir_, O_RDONLY | O_DIRECTORY).value();
  sys::UniqueFd at(::dup(root.get()));
  for (int i = 0; i < 600; ++i) {
    ASSERT_EQ(::mkdirat(at.get(), "d", 0755), 0);
    at.Reset(::openat(at.get(), "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(at);
  }
  EXPECT_FALSE(usage_->Recount(root));
  EXPECT_FALSE(usage_->Fits(1));
}

}  // namespace
}  // namespace tinderbox::volume
