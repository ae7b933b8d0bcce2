// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "store/backup.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "store/store.h"

namespace tinderbox::store {
namespace {

using base::Code;
namespace fs = std::filesystem;

class BackupTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "tb-backup-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { fs::remove_all(dir_); }
  std::string dir_;
};

TEST_F(BackupTest, IsConsistentWhileTheDatabaseIsWritten) {
  const auto store = *OpenStore(dir_ + "/db");
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) {
      const std::string id = "s" + std::to_string(i);
      EXPECT_TRUE(store->InsertVolume({.id = id, .name = id, .token = "t"}));
      EXPECT_TRUE(store->SetSetting("last", id));
    }
  });
  for (int i = 0; i < 5; ++i) {
    const auto made = BackUpDatabase(dir_ + "/db", dir_ + "/copy");
    EXPECT_TRUE(made) << made.error().ToString();
  }
  stop = true;
  writer.join();
  struct stat st{};
  ASSERT_EQ(::stat((dir_ + "/copy").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0600u);
  const auto copy = OpenStore(dir_ + "/copy");
  ASSERT_TRUE(copy) << copy.error().ToString();
  // What "last" names was written before it.
  const auto last = *(*copy)->GetSetting("last");
  const auto volumes = *(*copy)->ListVolumes();
  ASSERT_TRUE(last);
  EXPECT_TRUE(std::ranges::any_of(volumes, [&](const auto& v) { return v.id == *last; }));
  for (const auto& entry : fs::directory_iterator(dir_)) {
    EXPECT_FALSE(entry.path().string().contains(".tmp")) << entry.path();
  }
}

TEST_F(BackupTest, OfADamagedDatabaseFailsAndKeepsTheBackupBefore) {
  {
    ASSERT_TRUE((*OpenStore(dir_ + "/db"))->SetSetting("a", "b"));
  }
  ASSERT_TRUE(BackUpDatabase(dir_ + "/db", dir_ + "/copy"));
  std::ofstream(dir_ + "/db", std::ios::trunc) << std::string(8192, 'x');
  EXPECT_FALSE(BackUpDatabase(dir_ + "/db", dir_ + "/copy"));
  EXPECT_TRUE(CheckDatabase(dir_ + "/copy"));
  EXPECT_EQ(CheckDatabase(dir_ + "/db").error().code(), Code::kDataLoss);
  EXPECT_EQ(CheckDatabase(dir_ + "/none").error().code(), Code::kNotFound);
  EXPECT_EQ(*(*OpenStore(dir_ + "/copy"))->GetSetting("a"), "b");
}

}  // namespace
}  // namespace tinderbox::store
