// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "sys/file.h"
#include "volume/trash.h"
#include "volume/tree.h"

namespace tinderbox::volume {
namespace {

using base::Code;
using testing::ElementsAre;

Path At(std::string_view text) { return *Path::Parse(text); }

template <typename T>
Code CodeOf(const base::Result<T>& result) {
  EXPECT_FALSE(result.has_value());
  return result ? Code::kInternal : result.error().code();
}

// A volume's directory with "outside" beside it, which holds a secret.
class TreeTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "tb-tree-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    for (const char* name : {"/volume", "/trash", "/incoming", "/outside"}) {
      ASSERT_TRUE(sys::MakeDirs(dir_ + name));
    }
    std::ofstream(dir_ + "/outside/secret") << "secret";
    incoming_ = *sys::Open(dir_ + "/incoming", O_RDONLY | O_DIRECTORY);
    trash_ = std::make_unique<Trash>(*sys::Open(dir_ + "/trash", O_RDONLY | O_DIRECTORY));
    tree_ = std::make_unique<Tree>(*sys::Open(dir_ + "/volume", O_PATH | O_DIRECTORY), *trash_,
                                   incoming_);
  }
  void TearDown() override {
    tree_.reset();
    trash_.reset();
    std::filesystem::remove_all(dir_);
  }

  std::string Inside(const std::string& name) const { return dir_ + "/volume/" + name; }
  base::Result<> Put(std::string_view path, std::string_view data, const Attributes& wanted = {},
                     bool parents = false) {
    auto upload = TRY(tree_->BeginUpload(At(path), wanted, parents));
    TRY(upload->Write(data));
    return upload->Commit();
  }
  base::Result<std::string> Get(std::string_view path) {
    const Tree::File file = TRY(tree_->OpenFile(At(path)));
    return sys::ReadAll(file.fd, 1 << 20);
  }
  std::size_t Incoming() const {
    return static_cast<std::size_t>(
        std::distance(std::filesystem::directory_iterator(dir_ + "/incoming"), {}));
  }

  std::string dir_;
  sys::UniqueFd incoming_;
  std::unique_ptr<Trash> trash_;
  std::unique_ptr<Tree> tree_;
};

TEST_F(TreeTest, FilesComeAndGoWhole) {
  ASSERT_TRUE(Put("/a", "one", {.uid = 1000, .gid = 1001, .mode = 0640}));
  EXPECT_EQ(*Get("a"), "one");
  auto entry = tree_->Stat(At("/a"));
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->name, "a");
  EXPECT_EQ(entry->path, "/a");
  EXPECT_EQ(entry->type, EntryType::kFile);
  EXPECT_EQ(entry->size, 3u);
  EXPECT_EQ(entry->mode, 0640u);
  EXPECT_EQ(entry->uid, 1000u);
  EXPECT_EQ(entry->gid, 1001u);
  // Another content, the same owner and mode.
  ASSERT_TRUE(Put("/a", "other"));
  entry = tree_->Stat(At("/a"));
  EXPECT_EQ(entry->mode, 0640u);
  EXPECT_EQ(entry->uid, 1000u);
  {
    // An upload that ends halfway is never seen.
    auto upload = tree_->BeginUpload(At("/a"), {}, false);
    ASSERT_TRUE(upload);
    ASSERT_TRUE((*upload)->Write("half"));
    EXPECT_EQ(Incoming(), 1u);
  }
  EXPECT_EQ(*Get("a"), "other");
  EXPECT_EQ(Incoming(), 0u);
  EXPECT_EQ(CodeOf(Put("/no/a", "x")), Code::kNotFound);
  ASSERT_TRUE(Put("/no/a", "x", {}, true));
  EXPECT_EQ(CodeOf(Put("/no", "x")), Code::kInvalidArgument);
  ASSERT_TRUE(tree_->Remove(At("/a")));
  EXPECT_EQ(CodeOf(tree_->Stat(At("/a"))), Code::kNotFound);
  EXPECT_EQ(CodeOf(tree_->Remove(At("/a"))), Code::kNotFound);
  EXPECT_EQ(CodeOf(tree_->Remove(At("/"))), Code::kInvalidArgument);
}

TEST_F(TreeTest, Directories) {
  EXPECT_EQ(CodeOf(tree_->MakeDirectory(At("/a/b"), {}, false)), Code::kNotFound);
  auto made = tree_->MakeDirectory(At("/a/b"), {.uid = 5, .gid = 6, .mode = 0750}, true);
  ASSERT_TRUE(made) << made.error().ToString();
  EXPECT_EQ(made->mode, 0750u);
  EXPECT_EQ(made->uid, 5u);
  EXPECT_EQ(made->type, EntryType::kDirectory);
  EXPECT_EQ(CodeOf(tree_->MakeDirectory(At("/a/b"), {}, false)), Code::kAlreadyExists);
  EXPECT_TRUE(tree_->MakeDirectory(At("/a/b"), {}, true));
  // What is made belongs to whom the directory around it does.
  EXPECT_EQ(tree_->MakeDirectory(At("/a/b/c"), {}, false)->uid, 5u);
  ASSERT_TRUE(Put("/a/file", "x"));
  EXPECT_EQ(CodeOf(tree_->MakeDirectory(At("/a/file/d"), {}, true)), Code::kNotFound);
  EXPECT_EQ(CodeOf(tree_->MakeDirectory(At("/a/file"), {}, true)), Code::kAlreadyExists);
  const auto names = [&](std::string_view path, std::uint32_t depth) {
    std::vector<std::string> all;
    for (const Entry& entry : *tree_->List(At(path), depth)) all.push_back(entry.path);
    return all;
  };
  EXPECT_THAT(names("/", 1), ElementsAre("/a"));
  EXPECT_THAT(names("/", 2), ElementsAre("/a", "/a/b", "/a/file"));
  EXPECT_THAT(names("/a", 9), ElementsAre("/a/b", "/a/file", "/a/b/c"));
  EXPECT_EQ(CodeOf(tree_->List(At("/a/file"), 1)), Code::kNotFound);
  ASSERT_TRUE(tree_->Remove(At("/a")));
  EXPECT_TRUE(names("/", 9).empty());
  EXPECT_TRUE(trash_->AwaitEmpty(10'000));
}

TEST_F(TreeTest, SetsOwnerAndMode) {
  ASSERT_TRUE(Put("/a", "x"));
  const auto entry = tree_->SetAttributes(At("/a"), {.uid = 7, .gid = {}, .mode = 0600});
  ASSERT_TRUE(entry) << entry.error().ToString();
  EXPECT_EQ(entry->uid, 7u);
  EXPECT_EQ(entry->mode, 0600u);
  ASSERT_EQ(::symlink("a", Inside("link").c_str()), 0);
  EXPECT_EQ(CodeOf(tree_->SetAttributes(At("/link"), {.uid = 9})), Code::kInvalidArgument);
  EXPECT_EQ(tree_->Stat(At("/a"))->uid, 7u);
}

TEST_F(TreeTest, LinksLeadNowhereOutside) {
  ASSERT_TRUE(Put("/d/inside", "inside", {}, true));
  ASSERT_EQ(::symlink("d", Inside("good").c_str()), 0);
  ASSERT_EQ(::symlink("d/inside", Inside("file").c_str()), 0);
  ASSERT_EQ(::symlink("../d/inside", Inside("d/back").c_str()), 0);
  EXPECT_EQ(*Get("/good/inside"), "inside");
  EXPECT_EQ(*Get("/file"), "inside");
  EXPECT_EQ(*Get("/d/back"), "inside");
  EXPECT_EQ(tree_->Stat(At("/file"))->target, "d/inside");

  ASSERT_EQ(::symlink("../outside", Inside("up").c_str()), 0);
  ASSERT_EQ(::symlink((dir_ + "/outside").c_str(), Inside("absolute").c_str()), 0);
  ASSERT_EQ(::symlink("/proc/self/root", Inside("magic").c_str()), 0);
  ASSERT_EQ(::symlink("loop", Inside("loop").c_str()), 0);
  for (const std::string bad : {"/up", "/absolute", "/magic", "/loop", "/good/../../outside"}) {
    if (bad.find("..") == bad.npos) {
      EXPECT_EQ(CodeOf(Get(bad + "/secret")), Code::kNotFound) << bad;
      EXPECT_EQ(CodeOf(tree_->List(At(bad), 1)), Code::kNotFound) << bad;
      EXPECT_EQ(CodeOf(Put(bad + "/made", "x")), Code::kNotFound) << bad;
      EXPECT_FALSE(Put(bad + "/made", "x", {}, true)) << bad;
      EXPECT_EQ(CodeOf(tree_->Remove(At(bad + "/secret"))), Code::kNotFound) << bad;
      EXPECT_FALSE(tree_->MakeDirectory(At(bad + "/made"), {}, true)) << bad;
      EXPECT_FALSE(tree_->SetAttributes(At(bad + "/secret"), {.mode = 0777})) << bad;
      EXPECT_EQ(tree_->Stat(At(bad))->type, EntryType::kSymlink) << bad;
    } else {
      EXPECT_FALSE(Path::Parse(bad));
    }
  }
  ASSERT_EQ(::symlink("../outside/secret", Inside("secret").c_str()), 0);
  EXPECT_EQ(CodeOf(Get("/secret")), Code::kNotFound);
  // Writing replaces the link and not what it leads to.
  ASSERT_TRUE(Put("/secret", "mine"));
  EXPECT_EQ(*sys::ReadFile(dir_ + "/outside/secret"), "secret");
  // Links in what is listed or removed are not followed.
  EXPECT_EQ(tree_->List(At("/"), 9)->size(), 10u);
  for (const char* name : {"/up", "/absolute"}) EXPECT_TRUE(tree_->Remove(At(name)));
  ASSERT_EQ(::symlink(dir_.c_str(), Inside("d/all").c_str()), 0);
  EXPECT_TRUE(tree_->Remove(At("/d")));
  EXPECT_TRUE(trash_->AwaitEmpty(10'000));
  EXPECT_EQ(*sys::ReadFile(dir_ + "/outside/secret"), "secret");
}

// Somebody swaps a directory for a link to the outside, over and over, while we work below it.
TEST_F(TreeTest, ALinkThatComesAtTheWrongMomentLeadsNowhere) {
  ASSERT_TRUE(sys::MakeDirs(Inside("real")));
  ASSERT_EQ(::symlink("../outside", Inside("evil").c_str()), 0);
  ASSERT_TRUE(sys::MakeDirs(Inside("d")));
  std::atomic<bool> stop = false;
  std::thread swapper([&] {
    while (!stop) {
      ::syscall(SYS_renameat2, AT_FDCWD, Inside("d").c_str(), AT_FDCWD, Inside("evil").c_str(),
                RENAME_EXCHANGE);
    }
  });
  const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(700);
  int worked = 0;
  while (std::chrono::steady_clock::now() < end) {
    worked += Put("/d/made", "x") ? 1 : 0;
    static_cast<void>(tree_->MakeDirectory(At("/d/sub/sub"), {}, true));
    static_cast<void>(tree_->SetAttributes(At("/d/secret"), {.mode = 0777}));
    static_cast<void>(tree_->Remove(At("/d/secret")));
    const auto got = Get("/d/secret");
    EXPECT_FALSE(got);
  }
  stop = true;
  swapper.join();
  EXPECT_GT(worked, 0);
  EXPECT_THAT(*base::Result<std::vector<std::string>>([&] {
    std::vector<std::string> names;
    for (const auto& e : std::filesystem::directory_iterator(dir_ + "/outside")) {
      names.push_back(e.path().filename());
    }
    return names;
  }()),
              ElementsAre("secret"));
  struct stat st{};
  ASSERT_EQ(::stat((dir_ + "/outside/secret").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0644u);
}

TEST_F(TreeTest, OpensNothingButRegularFiles) {
  ASSERT_EQ(::mkfifo(Inside("fifo").c_str(), 0666), 0);
  ASSERT_EQ(::mknod(Inside("device").c_str(), S_IFCHR | 0666, 0x0101), 0);  // /dev/mem
  ASSERT_EQ(::mknod(Inside("socket").c_str(), S_IFSOCK | 0666, 0), 0);
  for (const char* name : {"/fifo", "/device", "/socket"}) {
    EXPECT_EQ(CodeOf(Get(name)), Code::kInvalidArgument) << name;
    EXPECT_EQ(tree_->Stat(At(name))->type, EntryType::kUnknown) << name;
    EXPECT_EQ(CodeOf(tree_->SetAttributes(At(name), {.mode = 0600})), Code::kInvalidArgument);
  }
  EXPECT_EQ(CodeOf(Get("/")), Code::kInvalidArgument);
  EXPECT_EQ(tree_->List(At("/"), 3)->size(), 3u);
  ASSERT_TRUE(Put("/fifo", "now a file"));
  EXPECT_EQ(*Get("/fifo"), "now a file");
  EXPECT_TRUE(tree_->Remove(At("/device")));
}

// 2,000 levels: no path reaches the bottom, and nothing that recurses gets there.
TEST_F(TreeTest, RemovesWhatIsVeryDeep) {
  ASSERT_TRUE(sys::MakeDirs(Inside("deep")));
  sys::UniqueFd at = *sys::Open(Inside("deep"), O_RDONLY | O_DIRECTORY);
  for (int i = 0; i < 2000; ++i) {
    ASSERT_EQ(::mkdirat(at.get(), "d", 0700), 0);
    at = *sys::OpenAt(at, "d", O_RDONLY | O_DIRECTORY);
    if (i % 100 == 0) ASSERT_TRUE(sys::OpenAt(at, "file", O_WRONLY | O_CREAT, 0600));
  }
  at.Reset();
  ASSERT_TRUE(tree_->List(At("/"), 100));
  const auto began = std::chrono::steady_clock::now();
  ASSERT_TRUE(tree_->Remove(At("/deep")));
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(1));
  EXPECT_TRUE(tree_->List(At("/"), 1)->empty());
  EXPECT_TRUE(trash_->AwaitEmpty(60'000));
  EXPECT_TRUE(std::filesystem::is_empty(dir_ + "/trash"));
}

TEST_F(TreeTest, AFullDiskIsToldAndLeavesNothing) {
  ASSERT_EQ(::mount("tmpfs", dir_.c_str(), "tmpfs", 0, "size=1m"), 0);
  tree_.reset();
  trash_.reset();
  for (const char* name : {"/volume", "/trash", "/incoming"})
    ASSERT_TRUE(sys::MakeDirs(dir_ + name));
  incoming_ = *sys::Open(dir_ + "/incoming", O_RDONLY | O_DIRECTORY);
  trash_ = std::make_unique<Trash>(*sys::Open(dir_ + "/trash", O_RDONLY | O_DIRECTORY));
  tree_ = std::make_unique<Tree>(*sys::Open(dir_ + "/volume", O_PATH | O_DIRECTORY), *trash_,
                                 incoming_);
  EXPECT_EQ(CodeOf(Put("/large", std::string(2 << 20, 'x'))), Code::kResourceExhausted);
  EXPECT_EQ(Incoming(), 0u);
  EXPECT_TRUE(tree_->List(At("/"), 1)->empty());
  EXPECT_TRUE(Put("/small", "x"));
  tree_.reset();
  trash_.reset();
  incoming_.Reset();
  ASSERT_EQ(::umount2(dir_.c_str(), MNT_DETACH), 0);
}

}  // namespace
}  // namespace tinderbox::volume
