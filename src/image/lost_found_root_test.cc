// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "image/lost_found.h"
#include "sys/file.h"

namespace tinderbox::image {
namespace {

using base::Code;
namespace fs = std::filesystem;

class LostFoundTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "tb-lost-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    pool_ = pattern;
  }
  void TearDown() override { fs::remove_all(pool_); }
  LostEntry Lose(const std::string& id) {
    fs::create_directories(pool_ + "/volumes/" + id);
    std::ofstream(pool_ + "/volumes/" + id + "/file") << id;
    auto kept = lost().Keep({.kind = "volume", .id = id, .label = "data", .why = "a test"},
                            pool_ + "/volumes/" + id);
    EXPECT_TRUE(kept) << kept.error().ToString();
    return kept->value_or(LostEntry{});
  }
  LostFound lost() const { return LostFound(pool_); }
  std::string pool_;
};

TEST_F(LostFoundTest, KeepsWhatWasLostUntilItIsPutBack) {
  const LostEntry entry = Lose("v1");
  EXPECT_FALSE(fs::exists(pool_ + "/volumes/v1"));
  struct stat st{};
  ASSERT_EQ(::stat((pool_ + "/lost+found").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0700u);
  const auto all = lost().List();
  ASSERT_EQ(all->size(), 1u);
  EXPECT_EQ(all->at(0).name, "volume-v1");
  EXPECT_EQ(all->at(0).item.label, "data");
  EXPECT_EQ(all->at(0).item.why, "a test");
  EXPECT_EQ(*sys::ReadFile(all->at(0).path + "/file"), "v1");

  // Newer data in its place is not overwritten.
  fs::create_directories(pool_ + "/volumes/v1");
  EXPECT_EQ(lost().PutBack(entry, pool_ + "/volumes/v1").error().code(), Code::kAlreadyExists);
  fs::remove(pool_ + "/volumes/v1");
  ASSERT_TRUE(lost().PutBack(entry, pool_ + "/volumes/v1"));
  EXPECT_EQ(*sys::ReadFile(pool_ + "/volumes/v1/file"), "v1");
  EXPECT_TRUE(lost().List()->empty());
  EXPECT_TRUE(fs::is_empty(pool_ + "/lost+found"));
}

TEST_F(LostFoundTest, TwoOfOneNameStandSideBySide) {
  Lose("v1");
  EXPECT_EQ(Lose("v1").name, "volume-v1-2");
  ASSERT_TRUE(lost().Remove(*lost().Find("volume-v1")));
  EXPECT_EQ(lost().Find("volume-v1").error().code(), Code::kNotFound);
  EXPECT_EQ(lost().List()->size(), 1u);
}

TEST_F(LostFoundTest, NothingIsKeptOfWhatIsNotThere) {
  const auto kept = lost().Keep({.kind = "volume", .id = "v9"}, pool_ + "/volumes/v9");
  ASSERT_TRUE(kept);
  EXPECT_FALSE(*kept);
  EXPECT_TRUE(lost().List()->empty());
}

TEST_F(LostFoundTest, ADamagedDescriptionHidesNothing) {
  const LostEntry entry = Lose("v1");
  std::ofstream(entry.path.substr(0, entry.path.rfind('/')) + "/lost.json") << "{";
  const auto all = lost().List();
  ASSERT_EQ(all->size(), 1u);
  EXPECT_EQ(all->at(0).item.kind, "volume");
  EXPECT_EQ(all->at(0).path, entry.path);
}

}  // namespace
}  // namespace tinderbox::image
