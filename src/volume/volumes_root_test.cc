// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "sys/directory.h"
#include "sys/file.h"
#include "volume/volumes.h"

namespace tinderbox::volume {
namespace {

using base::Code;

class VolumesTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "tb-volumes-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    store_ = *store::OpenStore(dir_ + "/db");
    Reopen();
  }
  void TearDown() override {
    volumes_.reset();
    std::filesystem::remove_all(dir_);
  }
  void Reopen() {
    volumes_.reset();
    auto opened = Volumes::Open(
        {.directory = dir_ + "/volumes",
         .store = *store_,
         .ensure_room = [this](std::uint64_t) -> base::Result<> {
           if (!full_) return {};
           return base::Fail(Code::kResourceExhausted, "full");
         },
         .keep_lost = [this](const Lost& lost, const std::string& path) -> base::Result<> {
           lost_.push_back(lost);
           std::filesystem::rename(path, dir_ + "/lost-" + lost.id);
           return {};
         },
         .adopt = adopt_});
    ASSERT_TRUE(opened) << opened.error().ToString();
    volumes_ = std::move(*opened);
  }

  std::string dir_;
  // The store as a new one, or as it was when it was copied.
  void LoseStore(const std::string& backup = {}) {
    volumes_.reset();
    store_.reset();
    for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(dir_ + "/db" + suffix);
    if (!backup.empty()) std::filesystem::copy_file(backup, dir_ + "/db");
    store_ = *store::OpenStore(dir_ + "/db");
    Reopen();
  }
  std::string LostFile(const std::string& id) {
    return sys::ReadFile(dir_ + "/lost-" + id + "/file").value_or("gone");
  }

  bool full_ = false;
  bool adopt_ = false;
  std::vector<Lost> lost_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<Volumes> volumes_;
};

TEST_F(VolumesTest, LivesUntilItIsRemoved) {
  const auto made = volumes_->Create("data");
  ASSERT_TRUE(made) << made.error().ToString();
  EXPECT_EQ(made->token.size(), 64u);
  std::ofstream(volumes_->DirectoryOf(made->id) + "/file") << "x";
  Reopen();
  EXPECT_EQ(volumes_->Get(made->id)->name, "data");
  EXPECT_EQ(volumes_->FindByName("data")->token, made->token);
  EXPECT_EQ(volumes_->OpenTree(made->id)->Stat(*Path::Parse("/file"))->size, 1u);
  EXPECT_EQ(volumes_->List()->size(), 1u);
  ASSERT_TRUE(volumes_->Remove(made->id));
  EXPECT_FALSE(sys::Exists(volumes_->DirectoryOf(made->id)));
  EXPECT_EQ(volumes_->Get(made->id).error().code(), Code::kNotFound);
  EXPECT_EQ(volumes_->Remove(made->id).error().code(), Code::kNotFound);
  EXPECT_TRUE(volumes_->Create("data"));
}

TEST_F(VolumesTest, ANameIsOnesOnly) {
  ASSERT_TRUE(volumes_->Create("data"));
  EXPECT_EQ(volumes_->Create("data").error().code(), Code::kAlreadyExists);
  EXPECT_EQ(volumes_->Create("../data").error().code(), Code::kInvalidArgument);
  full_ = true;
  EXPECT_EQ(volumes_->Create("more").error().code(), Code::kResourceExhausted);
  EXPECT_EQ(volumes_->List()->size(), 1u);
}

TEST_F(VolumesTest, NobodyElseOnTheHostGetsIn) {
  const auto made = volumes_->Create("data");
  ASSERT_TRUE(made);
  struct stat st{};
  ASSERT_EQ(::stat((dir_ + "/volumes").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0700u);
  ASSERT_EQ(::stat(volumes_->DirectoryOf(made->id).c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0777u);
  EXPECT_EQ(st.st_uid, 1000u);
}

// As a daemon leaves it that was killed between directory and record, of a new volume or one that
// goes, or in an upload.
TEST_F(VolumesTest, TheNextStartSweepsWhatAKilledDaemonLeft) {
  const auto made = volumes_->Create("data");
  ASSERT_TRUE(made);
  // Made, but not recorded; its removal noted down, but not finished; likewise, but not recorded.
  ASSERT_TRUE(sys::MakeDirs(dir_ + "/volumes/halfmade"));
  ASSERT_TRUE(sys::MakeDirs(dir_ + "/volumes/halfgone/deep/er"));
  std::ofstream(dir_ + "/volumes/.meta/halfgone.removed") << "";
  std::ofstream(dir_ + "/volumes/.meta/" + made->id + ".removed") << "";
  std::ofstream(dir_ + "/volumes/.incoming/upload") << "x";
  ASSERT_TRUE(sys::MakeDirs(dir_ + "/volumes/.trash/gone/er"));
  Reopen();
  EXPECT_TRUE(volumes_->trash().AwaitEmpty(10'000));
  EXPECT_EQ(*sys::NamesIn(dir_ + "/volumes"),
            (std::vector<std::string>{".incoming", ".meta", ".trash", made->id}));
  EXPECT_EQ(*sys::NamesIn(dir_ + "/volumes/.meta"), std::vector{made->id + ".json"});
  EXPECT_TRUE(lost_.empty());
  EXPECT_TRUE(sys::NamesIn(dir_ + "/volumes/.incoming")->empty());
  EXPECT_TRUE(sys::NamesIn(dir_ + "/volumes/.trash")->empty());
}

TEST_F(VolumesTest, WithoutItsRecordAVolumeIsKeptAndCanBeTakenUp) {
  const auto made = volumes_->Create("data");
  ASSERT_TRUE(made);
  std::ofstream(volumes_->DirectoryOf(made->id) + "/file") << "precious";
  struct stat st{};
  ASSERT_EQ(::stat((dir_ + "/volumes/.meta/" + made->id + ".json").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0600u);
  LoseStore();
  EXPECT_TRUE(volumes_->List()->empty());
  ASSERT_EQ(lost_.size(), 1u);
  EXPECT_EQ(lost_[0].id, made->id);
  EXPECT_EQ(lost_[0].name, "data");
  EXPECT_EQ(LostFile(made->id), "precious");

  const auto fetch = [&](const std::string& to) -> base::Result<> {
    std::filesystem::rename(dir_ + "/lost-" + made->id, to);
    return {};
  };
  // The name is another's by now.
  ASSERT_TRUE(volumes_->Create("data"));
  EXPECT_EQ(volumes_->Adopt(made->id, "", fetch).error().code(), Code::kAlreadyExists);
  EXPECT_EQ(volumes_->Adopt(made->id, "../x", fetch).error().code(), Code::kInvalidArgument);
  EXPECT_EQ(volumes_->Adopt("unknown", "", fetch).error().code(), Code::kNotFound);
  EXPECT_EQ(LostFile(made->id), "precious");
  const auto adopted = volumes_->Adopt(made->id, "data2", fetch);
  ASSERT_TRUE(adopted) << adopted.error().ToString();
  EXPECT_EQ(adopted->token, made->token);
  Reopen();
  EXPECT_EQ(volumes_->FindByName("data2")->id, made->id);
  EXPECT_EQ(*sys::ReadFile(volumes_->DirectoryOf(made->id) + "/file"), "precious");
  EXPECT_EQ(lost_.size(), 1u);
}

TEST_F(VolumesTest, ARestoredStoreTakesUpWhatWasMadeSince) {
  const auto before = volumes_->Create("before"), removed = volumes_->Create("removed");
  ASSERT_TRUE(before && removed);
  volumes_.reset();
  store_.reset();
  std::filesystem::copy_file(dir_ + "/db", dir_ + "/backup");
  store_ = *store::OpenStore(dir_ + "/db");
  Reopen();
  ASSERT_TRUE(volumes_->Remove(removed->id));
  const auto since = volumes_->Create("since");
  std::ofstream(volumes_->DirectoryOf(since->id) + "/file") << "new";
  adopt_ = true;
  LoseStore(dir_ + "/backup");
  EXPECT_TRUE(lost_.empty());
  EXPECT_EQ(volumes_->FindByName("before")->token, before->token);
  EXPECT_EQ(volumes_->FindByName("since")->token, since->token);
  EXPECT_EQ(*sys::ReadFile(volumes_->DirectoryOf(since->id) + "/file"), "new");
  EXPECT_FALSE(volumes_->FindByName("removed")) << "its data is gone";
}

// A directory of another program, or of an earlier version, which wrote no metadata.
TEST_F(VolumesTest, WhatNothingIsKnownOfIsKept) {
  ASSERT_TRUE(sys::MakeDirs(dir_ + "/volumes/unknown"));
  std::ofstream(dir_ + "/volumes/unknown/file") << "x";
  adopt_ = true;
  Reopen();
  ASSERT_EQ(lost_.size(), 1u);
  EXPECT_EQ(lost_[0].name, "");
  EXPECT_EQ(LostFile("unknown"), "x");
}

}  // namespace
}  // namespace tinderbox::volume
