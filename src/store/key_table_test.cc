// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "store/key_table.h"

#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>

#include "store/store.h"

namespace tinderbox::store {
namespace {

using base::Code;

std::int64_t NowMs() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

class KeyTableTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "tb-keys-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    Reopen();
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  void Reopen() {
    store_.reset();
    store_ = std::move(OpenStore(dir_ + "/t.db").value());
  }
  KeyTable& Keys() { return store_->Keys(); }
  // Empty if it is unknown.
  KeyRecord Found(const std::string& key) { return Keys().Find(key).value().value_or(KeyRecord{}); }
  bool Knows(const std::string& key) { return Keys().Find(key).value().has_value(); }

  std::string dir_;
  std::unique_ptr<Store> store_;
};

TEST_F(KeyTableTest, EveryFieldSurvivesAReopening) {
  const auto made = Keys().Create("laptop", 1900000000000).value();
  EXPECT_EQ(made.record.id.size(), 12u);
  ASSERT_TRUE(Keys().Touch(made.record.id, 1800000000000));
  ASSERT_TRUE(Keys().Touch(made.record.id, 1700000000000)) << "an earlier use that comes late";
  Reopen();
  const KeyRecord found = Found(made.key);
  KeyRecord wanted = made.record;
  wanted.last_used_at = 1800000000000;
  EXPECT_EQ(found, wanted);
  EXPECT_EQ(Keys().List().value(), std::vector{wanted});
  EXPECT_NEAR(static_cast<double>(found.created_at), static_cast<double>(NowMs()), 5000);
}

TEST_F(KeyTableTest, OnlyTheRemovedKeyIsGone) {
  const auto one = Keys().Create("a", 0).value(), two = Keys().Create("a", 0).value();
  const auto before = Keys().generation();
  EXPECT_FALSE(*Keys().Remove(""));
  EXPECT_FALSE(*Keys().Remove("%"));
  EXPECT_TRUE(*Keys().Remove(one.record.id));
  EXPECT_FALSE(*Keys().Remove(one.record.id));
  EXPECT_NE(Keys().generation(), before);
  EXPECT_FALSE(Knows(one.key));
  EXPECT_TRUE(Knows(two.key));
  EXPECT_EQ(*Keys().Count(), 1u);
}

TEST_F(KeyTableTest, RotationIsOneChange) {
  const std::int64_t later = NowMs() + 3600'000;
  const auto one = Keys().Create("ci", later).value();
  const auto two = Keys().Rotate(one.record.id, 0).value();
  EXPECT_EQ(two.record.label, "ci");
  EXPECT_EQ(two.record.expires_at, later);
  EXPECT_FALSE(Knows(one.key));
  // It never lives longer than it would have.
  const auto three = Keys().Rotate(two.record.id, later + 1).value();
  EXPECT_EQ(Found(two.key).expires_at, later);
  ASSERT_TRUE(Keys().Rotate(three.record.id, later - 1));
  EXPECT_EQ(Found(three.key).expires_at, later - 1);
  const auto unlimited = Keys().Create("x", 0).value();
  ASSERT_TRUE(Keys().Rotate(unlimited.record.id, later));
  EXPECT_EQ(Found(unlimited.key).expires_at, later);
  EXPECT_EQ(Keys().Rotate("none", 0).error().code(), Code::kNotFound);
  const auto expired = Keys().Create("x", 1).value();
  EXPECT_EQ(Keys().Rotate(expired.record.id, 0).error().code(), Code::kFailedPrecondition);
}

TEST_F(KeyTableTest, TheirNumberIsBoundedAndTheExpiredGo) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Keys().Create("x", 1));
  // Each create had removed the one before, which expired long ago.
  EXPECT_EQ(*Keys().Count(), 1u);
  const std::int64_t yesterday = NowMs() - 24 * 3600'000;
  for (std::size_t i = 0; i < KeyTable::kMost; ++i) ASSERT_TRUE(Keys().Create("x", yesterday));
  const auto more = Keys().Create("x", 0);
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code(), Code::kResourceExhausted);
  EXPECT_NE(more.error().remedy().find("key ls"), std::string::npos);
}

}  // namespace
}  // namespace tinderbox::store
