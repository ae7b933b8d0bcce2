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
    auto opened = Volumes::Open({.directory = dir_ + "/volumes",
                                 .store = *store_,
                                 .ensure_room = [this](std::uint64_t) -> base::Result<> {
                                   if (!full_) return {};
                                   return base::Fail(Code::kResourceExhausted, "full");
                                 }});
    ASSERT_TRUE(opened) << opened.error().ToString();
    volumes_ = std::move(*opened);
  }

  std::string dir_;
  bool full_ = false;
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
  ASSERT_TRUE(sys::MakeDirs(dir_ + "/volumes/halfmade/deep/er"));
  std::ofstream(dir_ + "/volumes/.incoming/upload") << "x";
  ASSERT_TRUE(sys::MakeDirs(dir_ + "/volumes/.trash/gone/er"));
  Reopen();
  EXPECT_TRUE(volumes_->trash().AwaitEmpty(10'000));
  EXPECT_EQ(*sys::NamesIn(dir_ + "/volumes"),
            (std::vector<std::string>{".incoming", ".trash", made->id}));
  EXPECT_TRUE(sys::NamesIn(dir_ + "/volumes/.incoming")->empty());
  EXPECT_TRUE(sys::NamesIn(dir_ + "/volumes/.trash")->empty());
}

}  // namespace
}  // namespace tinderbox::volume
