// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "daemon/backups.h"
#include "daemon/commands.h"
#include "daemon/instance_lock.h"
#include "daemon/reconcile.h"
#include "store/store.h"
#include "sys/directory.h"
#include "sys/file.h"

namespace tinderbox::daemon {
namespace {

using base::Code;
using testing::HasSubstr;
namespace fs = std::filesystem;

class BackupsTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::geteuid(), 0u) << "the daemon's commands need root";
    std::string pattern = testing::TempDir() + "tb-backups-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    config_.state_dir = pattern + "/state";
    config_.run_dir = pattern + "/run";
    config_.socket = pattern + "/run/socket";
    dir_ = pattern;
    fs::create_directories(config_.state_dir);
  }
  void TearDown() override {
    if (!dir_.empty()) fs::remove_all(dir_);
  }
  void Set(const std::string& value) {
    const auto store = store::OpenStore(StorePath(config_));
    ASSERT_TRUE(store) << store.error().ToString();
    ASSERT_TRUE((*store)->SetSetting("value", value));
  }
  std::string Value() {
    const auto store = store::OpenStore(StorePath(config_));
    if (!store) return store.error().ToString();
    return (*store)->GetSetting("value")->value_or("none");
  }
  std::vector<std::string> ReplacedDatabases() {
    std::vector<std::string> found;
    for (const auto& name : *sys::NamesIn(BackupDirectory(config_.state_dir))) {
      if (name.starts_with("replaced-")) found.push_back(name);
    }
    return found;
  }
  Config config_;
  std::string dir_;
};

TEST_F(BackupsTest, OneIsMadeADayAndSevenAreKept) {
  Set("a");
  fs::create_directories(BackupDirectory(config_.state_dir));
  for (int day = 10; day < 20; ++day) {
    std::ofstream(
        fmt::format("{}/tinderbox-202601{}T000000Z.db", BackupDirectory(config_.state_dir), day))
        << "old";
  }
  std::ofstream(BackupDirectory(config_.state_dir) + "/mine.db") << "not ours to remove";
  fs::last_write_time(BackupsIn(config_.state_dir)->back(),
                      fs::file_time_type::clock::now() - std::chrono::hours(25));
  {
    const Backups backups(config_);
    for (int i = 0; i < 1000 && BackupsIn(config_.state_dir)->size() != kKeptBackups; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  const auto all = *BackupsIn(config_.state_dir);
  ASSERT_EQ(all.size(), kKeptBackups);
  EXPECT_THAT(all.front(), HasSubstr("20260114"));
  struct stat st{};
  ASSERT_EQ(::stat(all.back().c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0600u);
  EXPECT_EQ(*(*store::OpenStore(all.back()))->GetSetting("value"), "a");
  EXPECT_TRUE(fs::exists(BackupDirectory(config_.state_dir) + "/mine.db"));
  // The latest is new: none is due, also not for a daemon that starts a moment later.
  {
    const Backups again(config_);
  }
  EXPECT_EQ(*BackupsIn(config_.state_dir), all);
}

TEST_F(BackupsTest, RestorePutsBackAndKeepsWhatWasThere) {
  Set("then");
  ASSERT_TRUE(MakeBackup(config_));
  Set("now");
  ASSERT_TRUE(Restore(config_, "", false));
  EXPECT_EQ(Value(), "then");
  EXPECT_TRUE(fs::exists(RestoredMark(config_)));
  ASSERT_EQ(ReplacedDatabases().size(), 1u);
  const std::string replaced =
      fmt::format("{}/{}/tinderbox.db", BackupDirectory(config_.state_dir), ReplacedDatabases()[0]);
  EXPECT_EQ(*(*store::OpenStore(replaced))->GetSetting("value"), "now");
}

TEST_F(BackupsTest, ADamagedDatabaseIsReplacedAndADamagedBackupIsNot) {
  Set("then");
  ASSERT_TRUE(BackUp(config_, dir_ + "/copy"));
  std::ofstream(StorePath(config_), std::ios::trunc) << std::string(8192, 'x');
  const auto damaged = store::OpenStore(StorePath(config_));
  ASSERT_FALSE(damaged);
  EXPECT_THAT(damaged.error().remedy(), HasSubstr("tinderboxd restore"));
  std::ofstream(dir_ + "/bad") << std::string(8192, 'y');
  EXPECT_EQ(Restore(config_, dir_ + "/bad", false).error().code(), Code::kDataLoss);
  EXPECT_EQ(Restore(config_, dir_ + "/none", false).error().code(), Code::kNotFound);
  EXPECT_EQ(Restore(config_, "", false).error().code(), Code::kNotFound) << "no backup is there";
  EXPECT_TRUE(ReplacedDatabases().empty()) << "nothing was changed";
  ASSERT_TRUE(Restore(config_, dir_ + "/copy", false));
  EXPECT_EQ(Value(), "then");
}

TEST_F(BackupsTest, RestoreNoneLeavesNoDatabase) {
  Set("now");
  ASSERT_TRUE(Restore(config_, "", true));
  EXPECT_FALSE(fs::exists(StorePath(config_)));
  EXPECT_FALSE(fs::exists(RestoredMark(config_))) << "the next start asks what to do";
  EXPECT_EQ(ReplacedDatabases().size(), 1u);
}

TEST_F(BackupsTest, RestoreIsRefusedWhileADaemonHasTheStateDirectory) {
  Set("now");
  ASSERT_TRUE(MakeBackup(config_));
  const auto lock = InstanceLock::Take(config_.state_dir, InstanceLock::Of::kStateDir);
  ASSERT_TRUE(lock);
  const auto refused = Restore(config_, "", false);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kAlreadyExists);
  EXPECT_THAT(refused.error().message(), HasSubstr("state_dir"));
  EXPECT_EQ(Value(), "now");
}

}  // namespace
}  // namespace tinderbox::daemon
