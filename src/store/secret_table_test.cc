// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "store/secret_table.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>

#include "store/store.h"

namespace tinderbox::store {
namespace {

using base::Code;

class SecretTableTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "tb-secrets-XXXXXX";
    ASSERT_NE(mkdtemp(dir_.data()), nullptr);
    Open();
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  void Open() {
    store_.reset();
    auto store = OpenStore(dir_ + "/t.db");
    ASSERT_TRUE(store.has_value()) << store.error().ToString();
    store_ = std::move(*store);
  }
  SecretTable& table() { return store_->Secrets(); }

  std::string dir_;
  std::unique_ptr<Store> store_;
};

SecretRecord Record(const std::string& id, const std::string& name) {
  return {.id = id,
          .name = name,
          .version = 1,
          .nonce = std::string("\0\x01\xff nonce", 9),
          .ciphertext = std::string("\xfe\0\0cipher\0", 10),
          .metadata = {{"owner", "ä\"b"}},
          .created_at = 1764000000123,
          .updated_at = 1764000000124};
}

TEST_F(SecretTableTest, EveryFieldSurvivesByteForByte) {
  ASSERT_TRUE(table().Insert(Record("sec_1", "a")).has_value());
  Open();
  for (const auto& found : {table().GetById("sec_1"), table().GetByName("a")}) {
    ASSERT_TRUE(found.has_value()) << found.error().ToString();
    const SecretRecord want = Record("sec_1", "a");
    EXPECT_EQ(found->id, want.id);
    EXPECT_EQ(found->name, want.name);
    EXPECT_EQ(found->version, want.version);
    EXPECT_EQ(found->nonce, want.nonce);
    EXPECT_EQ(found->ciphertext, want.ciphertext);
    EXPECT_EQ(found->metadata, want.metadata);
    EXPECT_EQ(found->created_at, want.created_at);
    EXPECT_EQ(found->updated_at, want.updated_at);
  }
}

TEST_F(SecretTableTest, NamesAndIdsAreUnique) {
  ASSERT_TRUE(table().Insert(Record("sec_1", "a")).has_value());
  EXPECT_EQ(table().Insert(Record("sec_2", "a")).error().code(), Code::kAlreadyExists);
  EXPECT_EQ(table().Insert(Record("sec_1", "b")).error().code(), Code::kAlreadyExists);
  EXPECT_EQ(table().Count().value(), 1u);
}

TEST_F(SecretTableTest, AnUpdateIsACompareAndSetOnTheVersion) {
  ASSERT_TRUE(table().Insert(Record("sec_1", "a")).has_value());
  SecretRecord next = Record("sec_1", "a");
  next.version = 2;
  next.ciphertext = "other";
  next.metadata = {};
  next.updated_at += 1000;
  ASSERT_TRUE(table().Update(next, 1).has_value());
  EXPECT_EQ(table().Update(next, 1).error().code(), Code::kAborted);
  const SecretRecord found = table().GetByName("a").value();
  EXPECT_EQ(found.version, 2);
  EXPECT_EQ(found.ciphertext, "other");
  EXPECT_TRUE(found.metadata.empty());
  EXPECT_EQ(found.created_at, 1764000000123);
  EXPECT_EQ(found.updated_at, 1764000001124);
  EXPECT_EQ(table().Update(Record("sec_9", "z"), 1).error().code(), Code::kAborted);
}

TEST_F(SecretTableTest, PagesGoOnBehindANameThatMayBeGone) {
  for (const char* name : {"c", "a", "b", "d"}) {
    ASSERT_TRUE(table().Insert(Record(std::string("sec_") + name, name)).has_value());
  }
  const auto names = [this](std::string_view after, std::size_t limit) {
    std::string text;
    for (const SecretRecord& each : table().List(after, limit).value()) text += each.name;
    return text;
  };
  EXPECT_EQ(names("", 10), "abcd");
  EXPECT_EQ(names("", 2), "ab");
  EXPECT_TRUE(table().Remove("sec_b").value());
  EXPECT_FALSE(table().Remove("sec_b").value());
  EXPECT_EQ(names("b", 2), "cd");
  EXPECT_EQ(table().GetByName("b").error().code(), Code::kNotFound);
  EXPECT_EQ(table().GetById("sec_b").error().code(), Code::kNotFound);
}

}  // namespace
}  // namespace tinderbox::store
