// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// What a watch does at its bounds, and on a file system whose changes it cannot see.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fuse.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <stop_token>
#include <thread>

#include "agent/directory_watch.h"
#include "sys/file.h"

namespace tinderbox::agent {
namespace {

using net::ConnectCode;

class DirectoryWatchTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = fmt::format("/tmp/directory-watch-test-{}", ::getpid());
    std::filesystem::create_directories(dir_);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  RpcResult<std::shared_ptr<DirectoryWatch>> Watch(bool network = false) {
    return DirectoryWatch::Open(io_.get_executor(),
                                {.path = dir_, .allow_network_mounts = network});
  }
  // All that is told by now, a line each: "CREATE a/b".
  static std::string Told(DirectoryWatch& watch) {
    std::string told;
    while (!watch.empty()) {
      const boost::json::object event = watch.Take();
      told += fmt::format("{} {}\n", std::string(event.at("type").as_string()).substr(11),
                          std::string(event.at("name").as_string()));
    }
    return told;
  }
  // Runs whatever can run now.
  void Turn() {
    io_.restart();
    io_.poll();
  }

  boost::asio::io_context io_;
  std::string dir_;
};

std::size_t KernelsQueue() {
  const std::string text = sys::ReadFile("/proc/sys/fs/inotify/max_queued_events").value();
  std::size_t queue = 0;
  std::from_chars(text.data(), text.data() + text.size(), queue);
  return queue;
}

TEST_F(DirectoryWatchTest, LostEventsAreAnErrorBehindThoseThatAreNotLost) {
  const auto watch = Watch().value();
  const std::size_t many = KernelsQueue() + DirectoryWatch::kMaxQueued + 1000;
  const std::array<std::string, 2> names{dir_ + "/a", dir_ + "/b"};
  for (const std::string& name : names) ASSERT_TRUE(sys::Open(name, O_CREAT | O_WRONLY, 0600));
  for (std::size_t i = 0; i < many; ++i) {
    // Two by turns: the kernel takes a repeated event for the same one.
    ASSERT_EQ(::chmod(names[i % 2].c_str(), 0600), 0);
  }
  std::size_t told = 0;
  for (int i = 0; i < 1000 && !watch->error(); ++i) {
    Turn();
    for (; !watch->empty(); ++told) watch->Take();
  }
  ASSERT_TRUE(watch->error());
  EXPECT_EQ(watch->error()->code, ConnectCode::kResourceExhausted);
  EXPECT_GE(told, KernelsQueue());
  EXPECT_LT(told, many);
  watch->Close();
  Turn();
}

TEST_F(DirectoryWatchTest, NoMoreIsReadThanMayWait) {
  const auto watch = Watch().value();
  for (std::size_t i = 0; i < DirectoryWatch::kMaxQueued + 3000; ++i) {
    ASSERT_TRUE(sys::Open(fmt::format("{}/{}", dir_, i), O_CREAT | O_WRONLY, 0600));
  }
  Turn();
  std::size_t waiting = 0;
  for (; !watch->empty(); ++waiting) watch->Take();
  EXPECT_GE(waiting, DirectoryWatch::kMaxQueued);
  EXPECT_LT(waiting, DirectoryWatch::kMaxQueued + 1000) << "one buffer of the kernel's more";
  Turn();
  for (; !watch->empty(); ++waiting) watch->Take();
  EXPECT_EQ(waiting, DirectoryWatch::kMaxQueued + 3000) << "the rest is not lost";
  EXPECT_FALSE(watch->error());
  watch->Close();
  Turn();
}

TEST_F(DirectoryWatchTest, ReadPendingReadsWhatHasHappened) {
  const auto watch = Watch().value();
  ASSERT_TRUE(sys::Open(dir_ + "/f", O_CREAT | O_WRONLY, 0600));
  watch->ReadPending();
  EXPECT_EQ(Told(*watch), "CREATE f\n");
  watch->Close();
  watch->ReadPending();
  EXPECT_TRUE(watch->empty());
  Turn();
}

class TreeWatchTest : public DirectoryWatchTest {
 protected:
  void SetUp() override {
    DirectoryWatchTest::SetUp();
    outside_ = dir_ + "-outside";
    std::filesystem::create_directories(outside_);
    Make("a/b/");
    watch_ = DirectoryWatch::Open(io_.get_executor(), {.path = dir_, .recursive = true}).value();
  }
  void TearDown() override {
    watch_->Close();
    Turn();
    std::filesystem::remove_all(outside_);
    DirectoryWatchTest::TearDown();
  }
  // A file, or a directory with those above it.
  void Make(const std::string& name) {
    if (name.ends_with('/')) {
      ASSERT_TRUE(sys::MakeDirs(fmt::format("{}/{}", dir_, name.substr(0, name.size() - 1))));
    } else {
      ASSERT_EQ(::mknod(fmt::format("{}/{}", dir_, name).c_str(), S_IFREG | 0600, 0), 0);
    }
  }
  void Move(const std::string& from, const std::string& to) {
    ASSERT_EQ(::rename(from.c_str(), to.c_str()), 0) << std::strerror(errno);
  }
  std::string TellNow() {
    Turn();
    return Told(*watch_);
  }
  // After this time the other end of a move is no longer expected.
  void AwaitPairTime() {
    io_.restart();
    io_.run_for(std::chrono::milliseconds(100));
  }

  std::string outside_;
  std::shared_ptr<DirectoryWatch> watch_;
};

TEST_F(TreeWatchTest, NothingIsLostInADirectoryThatMovesBeforeItIsLookedAt) {
  Make("a/b/early");
  Move(dir_ + "/a", dir_ + "/moved");
  Make("moved/b/late");
  Make("moved/b/c/");
  EXPECT_EQ(TellNow(),
            "CREATE a/b/early\nRENAME a\nCREATE moved\nCREATE moved/b/late\nCREATE moved/b/c\n");
  Make("moved/b/c/deep");
  EXPECT_EQ(TellNow(), "CREATE moved/b/c/deep\n");
}

TEST_F(TreeWatchTest, OneThatIsMadeAndMovedBeforeItIsLookedAtIsToldWithAllThatIsInIt) {
  Make("new/deep/");
  Make("new/deep/f");
  Move(dir_ + "/new", dir_ + "/moved");
  Make("moved/deep/g");
  const std::string above = "CREATE new\nRENAME new\nCREATE moved\nCREATE moved/deep\n";
  const std::string f = "CREATE moved/deep/f\n", g = "CREATE moved/deep/g\n";
  // A file system lists the entries of a directory in any order.
  EXPECT_THAT(TellNow(), testing::AnyOf(above + f + g, above + g + f));
  Make("moved/deep/h");
  EXPECT_EQ(TellNow(), "CREATE moved/deep/h\n");
}

TEST_F(TreeWatchTest, SeveralMovesInARowAreFollowed) {
  Move(dir_ + "/a", dir_ + "/one");
  Move(dir_ + "/one", dir_ + "/two");
  Make("a/b/");
  Move(dir_ + "/two", dir_ + "/a/b/three");
  Make("a/b/three/b/f");
  const std::string told = TellNow(), line = "CREATE a/b/three/b/f\n";
  EXPECT_NE(told.find(line), told.npos) << told;
  EXPECT_EQ(told.find(line), told.rfind(line)) << told;
  Make("a/b/three/b/g");
  EXPECT_EQ(TellNow(), "CREATE a/b/three/b/g\n");
}

TEST_F(TreeWatchTest, WritesAfterADirectoryLeftTheTreeAreNotReported) {
  Move(dir_ + "/a", outside_ + "/a");
  ASSERT_EQ(::mknod((outside_ + "/a/f").c_str(), S_IFREG | 0600, 0), 0);
  ASSERT_EQ(::mknod((outside_ + "/a/b/f").c_str(), S_IFREG | 0600, 0), 0);
  EXPECT_EQ(TellNow(), "RENAME a\n");
  ASSERT_EQ(::mknod((outside_ + "/a/b/g").c_str(), S_IFREG | 0600, 0), 0);
  EXPECT_EQ(TellNow(), "");
}

TEST_F(TreeWatchTest, ADirectoryThatReplacesOneThatLeftIsReported) {
  Move(dir_ + "/a", outside_ + "/a");
  Make("a/");
  ASSERT_EQ(::mknod((outside_ + "/a/b/f").c_str(), S_IFREG | 0600, 0), 0);
  EXPECT_EQ(TellNow(), "RENAME a\nCREATE a\n");
  Make("a/g");
  EXPECT_EQ(TellNow(), "CREATE a/g\n");
  AwaitPairTime();
  Make("a/h");
  EXPECT_EQ(TellNow(), "CREATE a/h\n");
}

TEST_F(TreeWatchTest, ADirectoryThatLeavesAndReturnsIsReportedUnderItsNewName) {
  Move(dir_ + "/a", outside_ + "/a");
  ASSERT_EQ(::mknod((outside_ + "/a/b/f").c_str(), S_IFREG | 0600, 0), 0);
  Move(outside_ + "/a", dir_ + "/back");
  Make("back/b/g");
  EXPECT_EQ(TellNow(), "RENAME a\nCREATE back\nCREATE back/b/g\n");
  AwaitPairTime();
  Make("back/b/h");
  EXPECT_EQ(TellNow(), "CREATE back/b/h\n");
}

// The kernel queues the two ends of a move one after the other, and events of other threads may
// come between.
TEST_F(TreeWatchTest, NoWriteIsLostWhileADirectoryMovesWithinTheTree) {
  constexpr int kFiles = 1000;
  const sys::UniqueFd inside = sys::Open(dir_ + "/a/b", O_PATH | O_DIRECTORY).value();
  std::jthread mover([&](const std::stop_token& stop) {
    for (int i = 0; !stop.stop_requested() || i % 2 != 0; ++i) {
      std::filesystem::rename(dir_ + (i % 2 == 0 ? "/a" : "/moved"),
                              dir_ + (i % 2 == 0 ? "/moved" : "/a"));
      // Slow enough for the reader: lost events would end the watch.
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  });
  std::string told;
  for (int i = 0; i < kFiles; ++i) {
    const std::string name = fmt::format("{}", i);
    ASSERT_EQ(::mknodat(inside.get(), name.c_str(), S_IFREG | 0600, 0), 0);
    // Keeps the directory small: it is scanned after each move.
    ASSERT_EQ(::unlinkat(inside.get(), name.c_str(), 0), 0);
    watch_->ReadPending();
    told += Told(*watch_);
  }
  mover.request_stop();
  mover.join();
  told += TellNow();
  ASSERT_FALSE(watch_->error()) << watch_->error()->message;
  int lost = 0;
  for (int i = 0; i < kFiles; ++i) {
    const std::string name = fmt::format("/b/{}\n", i);
    if (!told.contains("CREATE a" + name) && !told.contains("CREATE moved" + name)) ++lost;
  }
  EXPECT_EQ(lost, 0);
}

TEST_F(TreeWatchTest, OfOneThatLeftTheTreeNothingMoreIsTold) {
  Move(dir_ + "/a", outside_ + "/a");
  EXPECT_EQ(TellNow(), "RENAME a\n");
  AwaitPairTime();
  ASSERT_EQ(::mknod((outside_ + "/a/b/f").c_str(), S_IFREG | 0600, 0), 0);
  EXPECT_EQ(TellNow(), "");
  Move(outside_ + "/a", dir_ + "/back");
  EXPECT_EQ(TellNow(), "CREATE back\n");
  Make("back/b/g");
  EXPECT_EQ(TellNow(), "CREATE back/b/g\n");
}

// A FUSE file system with an empty root: as much of its protocol as a look at that takes.
class EmptyFuse {
 public:
  explicit EmptyFuse(std::string target) : target_(std::move(target)) {
    fd_ = ::open("/dev/fuse", O_RDWR | O_CLOEXEC);
    const std::string options = fmt::format("fd={},rootmode=40000,user_id=0,group_id=0", fd_);
    mounted_ = fd_ >= 0 && ::mount("empty", target_.c_str(), "fuse", 0, options.c_str()) == 0;
    if (mounted_) server_ = std::thread([this] { Serve(); });
  }
  ~EmptyFuse() {
    if (mounted_) ::umount2(target_.c_str(), MNT_DETACH);  // ends the server's read
    if (server_.joinable()) server_.join();
    if (fd_ >= 0) ::close(fd_);
  }
  EmptyFuse(const EmptyFuse&) = delete;
  EmptyFuse& operator=(const EmptyFuse&) = delete;
  bool mounted() const { return mounted_; }

 private:
  template <typename Body>
  void Reply(std::uint64_t unique, const Body& body) {
    struct {
      fuse_out_header head;
      Body body;
    } answer{{sizeof(fuse_out_header) + sizeof(Body), 0, unique}, body};
    EXPECT_EQ(::write(fd_, &answer, answer.head.len), static_cast<ssize_t>(answer.head.len));
  }
  void Serve() {
    alignas(fuse_in_header) std::array<char, 64 << 10> buffer;
    while (::read(fd_, buffer.data(), buffer.size()) > 0) {
      fuse_in_header head;
      std::memcpy(&head, buffer.data(), sizeof(head));
      if (head.opcode == FUSE_INIT) {
        fuse_init_out init{};
        init.major = FUSE_KERNEL_VERSION;
        init.minor = 31;
        init.max_write = 4096;
        Reply(head.unique, init);
      } else if (head.opcode == FUSE_GETATTR) {
        fuse_attr_out attr{};
        attr.attr.ino = 1;
        attr.attr.mode = S_IFDIR | 0755;
        attr.attr.nlink = 2;
        Reply(head.unique, attr);
      } else if (head.opcode == FUSE_STATFS) {
        Reply(head.unique, fuse_statfs_out{});
      } else if (head.opcode != FUSE_FORGET && head.opcode != FUSE_INTERRUPT) {
        const fuse_out_header none{sizeof(fuse_out_header), -ENOSYS, head.unique};
        static_cast<void>(::write(fd_, &none, sizeof(none)));
      }
    }
  }

  const std::string target_;
  int fd_ = -1;
  bool mounted_ = false;
  std::thread server_;
};

TEST_F(DirectoryWatchTest, NetworkFileSystemsAreWatchedOnlyWhereThatIsAllowed) {
  const EmptyFuse mount(dir_);
  if (!mount.mounted()) GTEST_SKIP() << "this kernel has no FUSE: " << std::strerror(errno);
  const auto refused = Watch();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ConnectCode::kInvalidArgument);
  EXPECT_NE(refused.error().message.find("network file system"), std::string::npos);
  const auto allowed = Watch(true);
  ASSERT_TRUE(allowed) << allowed.error().message;
  (*allowed)->Close();
  Turn();
}

}  // namespace
}  // namespace tinderbox::agent
