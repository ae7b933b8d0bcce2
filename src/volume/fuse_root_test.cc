// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The server as a guest sees it, message by message; and the jailed program.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include "sys/file.h"
#include "volume/fuse_server.h"
#include "volume/server_process.h"

namespace tinderbox::volume {
namespace {

template <typename T>
std::string Bytes(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

std::string Message(std::uint32_t opcode, std::uint64_t node, const std::string& body,
                    std::uint32_t uid = 1000, std::uint32_t gid = 1001) {
  fuse_in_header head{};
  head.len = static_cast<std::uint32_t>(sizeof head + body.size());
  head.opcode = opcode;
  head.unique = 77;
  head.nodeid = node;
  head.uid = uid;
  head.gid = gid;
  return Bytes(head) + body;
}

std::string Text(const std::string& text) { return text + '\0'; }

class FuseTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "tb-fuse-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    ::umask(0);
    server_ = std::make_unique<FuseServer>(*sys::Open(dir_, O_PATH | O_DIRECTORY), 0);
  }
  void TearDown() override {
    server_.reset();
    ::umask(022);
    std::filesystem::remove_all(dir_);
  }

  struct Answer {
    int error = 1;  // none came
    std::string body;
    template <typename T>
    T As() const {
      T value{};
      EXPECT_GE(body.size(), sizeof value);
      std::memcpy(&value, body.data(), std::min(body.size(), sizeof value));
      return value;
    }
  };
  Answer Ask(std::uint32_t opcode, std::uint64_t node, const std::string& body) {
    const std::string message = Message(opcode, node, body);
    std::string_view raw;
    EXPECT_TRUE(server_->Handle(message, raw));
    if (raw.empty()) return {};
    fuse_out_header head{};
    std::memcpy(&head, raw.data(), sizeof head);
    EXPECT_EQ(head.len, raw.size());
    EXPECT_EQ(head.unique, 77u);
    return {head.error, std::string(raw.substr(sizeof head))};
  }
  std::uint64_t Lookup(const std::string& name, std::uint64_t parent = 1) {
    const Answer answer = Ask(FUSE_LOOKUP, parent, Text(name));
    EXPECT_EQ(answer.error, 0) << name;
    return answer.As<fuse_entry_out>().nodeid;
  }
  std::uint64_t Open(std::uint64_t node, int flags) {
    const Answer answer =
        Ask(FUSE_OPEN, node, Bytes(fuse_open_in{.flags = static_cast<std::uint32_t>(flags)}));
    EXPECT_EQ(answer.error, 0);
    return answer.As<fuse_open_out>().fh;
  }
  std::string Make(const std::string& name, const std::string& text) {
    std::ofstream(dir_ + "/" + name) << text;
    return name;
  }

  std::string dir_;
  std::unique_ptr<FuseServer> server_;
};

TEST_F(FuseTest, AFileIsMadeWrittenAndRead) {
  const Answer made = Ask(
      FUSE_CREATE, 1, Bytes(fuse_create_in{.flags = O_RDWR | O_CREAT, .mode = 0640}) + Text("f"));
  ASSERT_EQ(made.error, 0);
  const auto entry = made.As<fuse_entry_out>();
  EXPECT_EQ(entry.attr.uid, 1000u);
  EXPECT_EQ(entry.attr.gid, 1001u);
  EXPECT_EQ(entry.attr.mode, S_IFREG | 0640u);
  fuse_open_out open{};
  std::memcpy(&open, made.body.data() + sizeof entry, sizeof open);
  const Answer written = Ask(FUSE_WRITE, entry.nodeid,
                             Bytes(fuse_write_in{.fh = open.fh, .offset = 3, .size = 5}) + "hello");
  EXPECT_EQ(written.As<fuse_write_out>().size, 5u);
  const Answer read = Ask(FUSE_READ, entry.nodeid, Bytes(fuse_read_in{.fh = open.fh, .size = 100}));
  EXPECT_EQ(read.body, std::string("\0\0\0hello", 8));
  // Without a name it is there as long as it is open.
  EXPECT_EQ(Ask(FUSE_UNLINK, 1, Text("f")).error, 0);
  EXPECT_EQ(Ask(FUSE_GETATTR, entry.nodeid, Bytes(fuse_getattr_in{})).error, 0);
  EXPECT_EQ(
      Ask(FUSE_SETATTR, entry.nodeid, Bytes(fuse_setattr_in{.valid = FATTR_MODE, .mode = 0600}))
          .error,
      0);
  EXPECT_EQ(
      Ask(FUSE_SETATTR, entry.nodeid, Bytes(fuse_setattr_in{.valid = FATTR_SIZE, .size = 2})).error,
      0);
  EXPECT_EQ(Ask(FUSE_RELEASE, entry.nodeid, Bytes(fuse_release_in{.fh = open.fh})).error, 0);
  EXPECT_EQ(Ask(FUSE_READ, entry.nodeid, Bytes(fuse_read_in{.fh = open.fh, .size = 1})).error,
            -EBADF);
}

TEST_F(FuseTest, NamesThatAreNone) {
  for (const std::string name : {"", ".", "..", "a/b", "../x", "/"}) {
    EXPECT_LT(Ask(FUSE_LOOKUP, 1, Text(name)).error, 0) << name;
    EXPECT_LT(Ask(FUSE_UNLINK, 1, Text(name)).error, 0) << name;
    EXPECT_LT(Ask(FUSE_MKDIR, 1, Bytes(fuse_mkdir_in{.mode = 0755}) + Text(name)).error, 0) << name;
    EXPECT_LT(Ask(FUSE_SYMLINK, 1, Text(name) + Text("target")).error, 0) << name;
    EXPECT_LT(
        Ask(FUSE_RENAME, 1, Bytes(fuse_rename_in{.newdir = 1}) + Text("x") + Text(name)).error, 0)
        << name;
  }
  EXPECT_LT(Ask(FUSE_LOOKUP, 1, "no end").error, 0);
  EXPECT_LT(Ask(FUSE_LOOKUP, 1, Text(std::string(256, 'a'))).error, 0);
  EXPECT_TRUE(std::filesystem::is_empty(dir_));
}

TEST_F(FuseTest, NothingIsOpenedButFilesAndDirectories) {
  ASSERT_EQ(::mkfifo((dir_ + "/fifo").c_str(), 0666), 0);
  ASSERT_EQ(::mknod((dir_ + "/device").c_str(), S_IFCHR | 0666, 0x0103), 0);
  ASSERT_EQ(::symlink("/etc/passwd", (dir_ + "/link").c_str()), 0);
  for (const char* name : {"fifo", "device", "link"}) {
    const std::uint64_t node = Lookup(name);
    EXPECT_EQ(Ask(FUSE_OPEN, node, Bytes(fuse_open_in{.flags = O_RDWR})).error, -ENXIO) << name;
    EXPECT_EQ(Ask(FUSE_OPENDIR, node, Bytes(fuse_open_in{})).error, -ENOTDIR) << name;
    EXPECT_EQ(Ask(FUSE_LOOKUP, node, Text("x")).error, -ENOTDIR) << name;
  }
  EXPECT_EQ(Ask(FUSE_READLINK, Lookup("link"), "").body, "/etc/passwd");
  EXPECT_EQ(
      Ask(FUSE_MKNOD, 1, Bytes(fuse_mknod_in{.mode = S_IFCHR | 0666, .rdev = 0x103}) + Text("n"))
          .error,
      -EPERM);
  EXPECT_EQ(Ask(FUSE_MKNOD, 1, Bytes(fuse_mknod_in{.mode = S_IFBLK | 0666}) + Text("n")).error,
            -EPERM);
  EXPECT_EQ(Ask(FUSE_MKNOD, 1, Bytes(fuse_mknod_in{.mode = S_IFIFO | 0666}) + Text("p")).error, 0);
}

// Another sandbox puts something else in a name's place after the guest has looked.
TEST_F(FuseTest, WhatIsAnotherByNowIsStale) {
  Make("f", "mine");
  const std::uint64_t node = Lookup("f");
  ASSERT_EQ(::rename((dir_ + "/f").c_str(), (dir_ + "/g").c_str()), 0);
  Make("f", "another");
  EXPECT_EQ(Ask(FUSE_OPEN, node, Bytes(fuse_open_in{.flags = O_RDONLY})).error, -ESTALE);
  EXPECT_EQ(Ask(FUSE_GETATTR, node, Bytes(fuse_getattr_in{})).error, -ESTALE);
  EXPECT_EQ(Lookup("g"), node);
  EXPECT_EQ(Ask(FUSE_OPEN, node, Bytes(fuse_open_in{.flags = O_RDONLY})).error, 0);
  // A FIFO, even: it must not be waited for.
  const std::uint64_t other = Lookup("f");
  ASSERT_EQ(::unlink((dir_ + "/f").c_str()), 0);
  ASSERT_EQ(::mkfifo((dir_ + "/f").c_str(), 0666), 0);
  EXPECT_LT(Ask(FUSE_OPEN, other, Bytes(fuse_open_in{.flags = O_WRONLY})).error, 0);
  EXPECT_LT(Ask(FUSE_OPEN, other, Bytes(fuse_open_in{.flags = O_RDONLY})).error, 0);
}

TEST_F(FuseTest, RenamedDirectoriesKeepWhatIsInThem) {
  ASSERT_TRUE(sys::MakeDirs(dir_ + "/a/b/c"));
  Make("a/b/c/f", "deep");
  std::uint64_t at = 1;
  for (const char* name : {"a", "b", "c"}) at = Lookup(name, at);
  const std::uint64_t file = Lookup("f", at);
  ASSERT_EQ(Ask(FUSE_RENAME2, 1, Bytes(fuse_rename2_in{.newdir = 1}) + Text("a") + Text("z")).error,
            0);
  const std::uint64_t fh = Open(file, O_RDONLY);
  EXPECT_EQ(Ask(FUSE_READ, file, Bytes(fuse_read_in{.fh = fh, .size = 10})).body, "deep");
  EXPECT_EQ(
      Ask(FUSE_RENAME2, 1, Bytes(fuse_rename2_in{.newdir = 1, .flags = 4}) + Text("z") + Text("y"))
          .error,
      -EINVAL);
}

TEST_F(FuseTest, MoreFilesThanDescriptors) {
  constexpr int kFiles = NodeTable::kMaxDescriptors + 500;
  std::vector<std::uint64_t> nodes;
  for (int i = 0; i < kFiles; ++i) {
    ASSERT_EQ(
        Ask(FUSE_MKDIR, 1, Bytes(fuse_mkdir_in{.mode = 0755}) + Text(std::to_string(i))).error, 0);
    nodes.push_back(Lookup(std::to_string(i)));
    ASSERT_EQ(Ask(FUSE_MKDIR, nodes.back(), Bytes(fuse_mkdir_in{.mode = 0755}) + Text("in")).error,
              0);
  }
  for (const std::uint64_t node : nodes) EXPECT_GT(Lookup("in", node), 1u);
  EXPECT_LT(std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}),
            static_cast<long>(NodeTable::kMaxDescriptors) + 50);
  // Handles are bounded, too.
  Make("f", "x");
  const std::uint64_t file = Lookup("f");
  int opened = 0;
  while (Ask(FUSE_OPEN, file, Bytes(fuse_open_in{.flags = O_RDONLY})).error == 0) ++opened;
  EXPECT_LE(opened, static_cast<int>(FuseServer::kMaxHandles));
  EXPECT_GT(opened, 100);
}

TEST_F(FuseTest, DirectoriesAreListedInPieces) {
  for (int i = 0; i < 300; ++i) Make("file-" + std::to_string(i), "x");
  for (const std::uint32_t opcode : {FUSE_READDIR, FUSE_READDIRPLUS}) {
    const auto fh = Ask(FUSE_OPENDIR, 1, Bytes(fuse_open_in{})).As<fuse_open_out>().fh;
    std::set<std::string> names;
    std::uint64_t offset = 0;
    for (;;) {
      const Answer piece =
          Ask(opcode, 1, Bytes(fuse_read_in{.fh = fh, .offset = offset, .size = 4096}));
      ASSERT_EQ(piece.error, 0);
      if (piece.body.empty()) break;
      ASSERT_LE(piece.body.size(), 4096u);
      for (std::size_t at = 0; at < piece.body.size();) {
        if (opcode == FUSE_READDIRPLUS) at += sizeof(fuse_entry_out);
        fuse_dirent entry{};
        std::memcpy(&entry, piece.body.data() + at, FUSE_NAME_OFFSET);
        EXPECT_TRUE(names.insert(piece.body.substr(at + FUSE_NAME_OFFSET, entry.namelen)).second);
        at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + entry.namelen);
        offset = entry.off;
      }
    }
    EXPECT_EQ(names.size(), 302u);
    EXPECT_EQ(Ask(FUSE_RELEASEDIR, 1, Bytes(fuse_release_in{.fh = fh})).error, 0);
  }
}

TEST_F(FuseTest, NoRoomIsLeftToTheReserve) {
  Make("f", "x");
  server_ = std::make_unique<FuseServer>(*sys::Open(dir_, O_PATH | O_DIRECTORY), 1ull << 60);
  const std::uint64_t node = Lookup("f");
  const std::uint64_t fh = Open(node, O_RDWR);
  EXPECT_EQ(Ask(FUSE_WRITE, node, Bytes(fuse_write_in{.fh = fh, .size = 1}) + "y").error, -ENOSPC);
  EXPECT_EQ(Ask(FUSE_MKDIR, 1, Bytes(fuse_mkdir_in{.mode = 0755}) + Text("d")).error, -ENOSPC);
  EXPECT_EQ(Ask(FUSE_FALLOCATE, node, Bytes(fuse_fallocate_in{.fh = fh, .length = 1})).error,
            -ENOSPC);
  EXPECT_EQ(Ask(FUSE_STATFS, 1, "").As<fuse_statfs_out>().st.bavail, 0u);
  EXPECT_EQ(Ask(FUSE_READ, node, Bytes(fuse_read_in{.fh = fh, .size = 10})).body, "x");
}

TEST_F(FuseTest, WhatIsNoMessageEndsIt) {
  std::string_view answer;
  EXPECT_FALSE(server_->Handle(std::string("short"), answer));
  std::string message = Message(FUSE_GETATTR, 1, "");
  message += "more than its length says";
  EXPECT_FALSE(server_->Handle(message, answer));
  // Lengths inside that go beyond it.
  Make("f", "x");
  const std::uint64_t node = Lookup("f");
  const std::uint64_t fh = Open(node, O_RDWR);
  EXPECT_EQ(Ask(FUSE_WRITE, node, Bytes(fuse_write_in{.fh = fh, .size = 1000}) + "y").error,
            -EINVAL);
  EXPECT_EQ(Ask(FUSE_READ, node, "").error, -EINVAL);
  EXPECT_EQ(Ask(FUSE_READ, node, Bytes(fuse_read_in{.fh = fh, .size = 0xffffffff})).body, "x");
  EXPECT_EQ(Ask(9999, 1, "").error, -ENOSYS);
  EXPECT_EQ(Ask(FUSE_GETATTR, 4711, Bytes(fuse_getattr_in{})).error, -ESTALE);
  // What it was never told it may forget as often as it likes.
  Ask(FUSE_FORGET, node, Bytes(fuse_forget_in{.nlookup = ~0ull}));
  Ask(FUSE_FORGET, 1, Bytes(fuse_forget_in{.nlookup = ~0ull}));
  Ask(FUSE_BATCH_FORGET, 0, Bytes(fuse_batch_forget_in{.count = 0xffffffff}));
  EXPECT_EQ(Ask(FUSE_GETATTR, 1, Bytes(fuse_getattr_in{})).error, 0);
  EXPECT_EQ(Ask(FUSE_READ, node, Bytes(fuse_read_in{.fh = fh, .size = 1})).body, "x");
}

// The program itself, in its jail.
TEST_F(FuseTest, TheProgramServesItsDirectoryAlone) {
  Make("f", "x");
  ASSERT_EQ(::symlink("/etc/passwd", (dir_ + "/link").c_str()), 0);
  int pair[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
  const sys::UniqueFd guest(pair[0]);
  auto process = ServerProcess::Start({.program = TINDERBOX_VOLUME,
                                       .connection = sys::UniqueFd(pair[1]),
                                       .directory = dir_,
                                       .reserve_bytes = 0,
                                       .usage = Usage::Create(0).value(),
                                       .cgroup = ""});
  ASSERT_TRUE(process) << process.error().ToString();
  const auto ask = [&](const std::string& message) {
    EXPECT_EQ(::send(guest.get(), message.data(), message.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(message.size()));
    char answer[4096];
    const ssize_t n = ::recv(guest.get(), answer, sizeof answer, 0);
    fuse_out_header head{.len = 0, .error = 1, .unique = 0};
    if (n >= static_cast<ssize_t>(sizeof head)) std::memcpy(&head, answer, sizeof head);
    return head.error;
  };
  const std::uint32_t init[] = {FUSE_KERNEL_VERSION, 37, 1 << 20, 0};
  EXPECT_EQ(ask(Message(FUSE_INIT, 0, Bytes(init))), 0);
  EXPECT_TRUE(process->AwaitReady(base::Deadline::After(std::chrono::seconds(5))));
  EXPECT_EQ(ask(Message(FUSE_LOOKUP, 1, Text("f"))), 0);
  EXPECT_EQ(ask(Message(FUSE_LOOKUP, 1, Text("etc"))), -ENOENT);
  EXPECT_EQ(ask(Message(FUSE_OPEN, 2, Bytes(fuse_open_in{.flags = O_RDWR}))), 0);
  EXPECT_EQ(ask(Message(FUSE_MKDIR, 1, Bytes(fuse_mkdir_in{.mode = 0755}) + Text("d"))), 0);
  EXPECT_EQ(std::filesystem::status(dir_ + "/d").type(), std::filesystem::file_type::directory);
  EXPECT_FALSE(process->ended());
  // Nonsense ends it.
  const std::string nonsense(100, '\xff');
  EXPECT_EQ(::send(guest.get(), nonsense.data(), nonsense.size(), MSG_NOSIGNAL), 100);
  char byte = 0;
  EXPECT_EQ(::recv(guest.get(), &byte, 1, 0), 0);
  const auto deadline = base::Deadline::After(std::chrono::seconds(5));
  while (!process->ended() && !deadline.passed()) ::usleep(1000);
  EXPECT_TRUE(process->ended());
}

}  // namespace
}  // namespace tinderbox::volume
