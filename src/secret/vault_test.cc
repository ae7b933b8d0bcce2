// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "secret/vault.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "store/store.h"
#include "sys/file.h"

namespace tinderbox::secret {
namespace {

using base::Code;

class VaultTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "tb-vault-XXXXXX";
    ASSERT_NE(mkdtemp(dir_.data()), nullptr);
    Open();
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  // As after a restart of the daemon.
  void Open() {
    vault_.reset();
    store_.reset();
    store_ = store::OpenStore(dir_ + "/t.db").value();
    vault_ = std::make_unique<Vault>(store_->Secrets(), KeyPath());
  }
  std::string KeyPath() const { return dir_ + "/secrets.key"; }
  base::Result<SecretInfo> Create(std::string_view name, std::string value = "v",
                                  const Metadata& metadata = {}) {
    return vault_->Create(name, SecretText(std::move(value)), metadata);
  }
  std::string Value(std::string_view name) {
    const auto value = vault_->Value(name);
    return value ? std::string(value->Reveal()) : value.error().ToString();
  }

  std::string dir_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<Vault> vault_;
};

TEST_F(VaultTest, KeepsAValueUnderItsLowerCaseName) {
  EXPECT_FALSE(sys::Exists(KeyPath()));
  const auto made = Create("OpenAI-Key_1", "sk-1234", {{"team", "x"}});
  ASSERT_TRUE(made.has_value()) << made.error().ToString();
  EXPECT_TRUE(made->id.starts_with("sec_"));
  EXPECT_EQ(made->name, "openai-key_1");
  EXPECT_EQ(made->version, 1);
  EXPECT_EQ(made->metadata, (Metadata{{"team", "x"}}));
  EXPECT_GT(made->created_at_ms, 1764000000000);
  EXPECT_EQ(made->created_at_ms, made->updated_at_ms);
  Open();
  EXPECT_EQ(Value("OPENAI-KEY_1"), "sk-1234");
  EXPECT_EQ(vault_->Get(made->id)->name, "openai-key_1");
  EXPECT_EQ(vault_->Get("openAI-key_1")->id, made->id);
  EXPECT_EQ(Create("openai-KEY_1").error().code(), Code::kAlreadyExists);
}

TEST_F(VaultTest, TheValueStandsInNoFile) {
  ASSERT_TRUE(Create("a", "a-very-recognisable-value").has_value());
  ASSERT_TRUE(vault_->Update("a", SecretText("a-second-recognisable-value"), {}).has_value());
  store_.reset();
  for (const auto& entry : std::filesystem::directory_iterator(dir_)) {
    const std::string bytes = sys::ReadFile(entry.path()).value();
    EXPECT_FALSE(bytes.contains("recognisable")) << entry.path();
  }
}

TEST_F(VaultTest, AnUpdateIsTheNextVersion) {
  const auto made = Create("a", "one", {{"k", "v"}});
  const auto second = vault_->Update(made->id, SecretText("two"), std::nullopt);
  ASSERT_TRUE(second.has_value()) << second.error().ToString();
  EXPECT_EQ(second->version, 2);
  EXPECT_EQ(second->metadata, made->metadata);
  EXPECT_EQ(second->created_at_ms, made->created_at_ms);
  EXPECT_EQ(Value("a"), "two");
  const auto third = vault_->Update("A", SecretText("three"), Metadata{});
  EXPECT_EQ(third->version, 3);
  EXPECT_TRUE(third->metadata.empty());
  EXPECT_EQ(vault_->Update("b", SecretText("x"), {}).error().code(), Code::kNotFound);
}

TEST_F(VaultTest, UpdatesAtOnceAllCount) {
  ASSERT_TRUE(Create("a").has_value());
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([this] {
      for (int n = 0; n < 5; ++n) {
        while (!vault_->Update("a", SecretText("x"), {})) std::this_thread::yield();
      }
    });
  }
  for (std::thread& each : threads) each.join();
  EXPECT_EQ(vault_->Get("a")->version, 21);
  EXPECT_EQ(Value("a"), "x");
}

TEST_F(VaultTest, NamesValuesAndMetadataHaveBounds) {
  for (const std::string& name :
       {std::string(), std::string("a b"), std::string("a.b"), std::string(129, 'a'),
        std::string("sec_x"), std::string("SEC_x"), std::string("ä"), std::string("a\0", 2)}) {
    EXPECT_EQ(Create(name).error().code(), Code::kInvalidArgument) << name;
    EXPECT_EQ(vault_->Get(name).error().code(), Code::kNotFound) << name;
  }
  EXPECT_TRUE(Create(std::string(128, 'a')).has_value());
  for (const std::string& value : {std::string(), std::string(kMaxValue + 1, 'x'),
                                   std::string("a\nb"), std::string("a\0b", 3)}) {
    EXPECT_EQ(Create("b", value).error().code(), Code::kInvalidArgument);
  }
  EXPECT_TRUE(Create("c", std::string(kMaxValue, 'x')).has_value());
  Metadata many;
  for (int i = 0; i < 32; ++i) many[std::to_string(i)] = "x";
  EXPECT_TRUE(Create("d", "v", many).has_value());
  many["one more"] = "x";
  EXPECT_EQ(Create("e", "v", many).error().code(), Code::kInvalidArgument);
  for (const Metadata& bad :
       {Metadata{{std::string(129, 'k'), "v"}}, Metadata{{"k", std::string(1025, 'v')}},
        Metadata{{"1", std::string(1024, 'v')},
                 {"2", std::string(1024, 'v')},
                 {"3", std::string(1024, 'v')},
                 {"4", std::string(1024, 'v')},
                 {"5", std::string(1024, 'v')},
                 {"6", std::string(1024, 'v')},
                 {"7", std::string(1024, 'v')},
                 {"8", std::string(1024, 'v')}}}) {
    EXPECT_EQ(Create("e", "v", bad).error().code(), Code::kInvalidArgument);
    EXPECT_EQ(vault_->Update("d", SecretText("v"), bad).error().code(), Code::kInvalidArgument);
  }
}

TEST_F(VaultTest, WhatIsRemovedIsGoneAndItsNameFree) {
  const auto made = Create("a", "one");
  ASSERT_TRUE(vault_->Remove("A").has_value());
  EXPECT_EQ(vault_->Remove("a").error().code(), Code::kNotFound);
  EXPECT_EQ(vault_->Value("a").error().code(), Code::kNotFound);
  const auto again = Create("a", "two");
  ASSERT_TRUE(again.has_value());
  EXPECT_NE(again->id, made->id);
  EXPECT_EQ(again->version, 1);
}

TEST_F(VaultTest, AMissingKeyIsToldAndNeverMadeAnew) {
  ASSERT_TRUE(Create("a").has_value());
  std::filesystem::rename(KeyPath(), dir_ + "/kept");
  Open();
  for (const auto& error : {vault_->Value("a").error(), Create("b").error(),
                            vault_->Update("a", SecretText("x"), {}).error()}) {
    EXPECT_EQ(error.code(), Code::kDataLoss);
    EXPECT_FALSE(error.remedy().empty());
  }
  EXPECT_FALSE(sys::Exists(KeyPath()));
  // What the remedies say.
  std::filesystem::rename(dir_ + "/kept", KeyPath());
  EXPECT_EQ(Value("a"), "v");
  std::filesystem::remove(KeyPath());
  Open();
  ASSERT_TRUE(vault_->Remove("a").has_value());
  EXPECT_TRUE(Create("b").has_value());
  EXPECT_EQ(Value("b"), "v");
}

TEST_F(VaultTest, AWrongKeyIsTold) {
  ASSERT_TRUE(Create("a", "hidden").has_value());
  std::filesystem::remove(KeyPath());
  ASSERT_TRUE(MakeKeyFile(KeyPath()).has_value());
  Open();
  const auto value = vault_->Value("a");
  ASSERT_FALSE(value.has_value());
  EXPECT_EQ(value.error().code(), Code::kDataLoss);
  EXPECT_FALSE(value.error().remedy().empty());
  // Setting it anew heals it.
  ASSERT_TRUE(vault_->Update("a", SecretText("anew"), {}).has_value());
  EXPECT_EQ(Value("a"), "anew");
}

TEST_F(VaultTest, AValueOpensInItsOwnPlaceAlone) {
  ASSERT_TRUE(Create("a", "of a").has_value());
  ASSERT_TRUE(Create("b", "of b").has_value());
  store::SecretRecord a = store_->Secrets().GetByName("a").value();
  store::SecretRecord b = store_->Secrets().GetByName("b").value();
  std::swap(a.ciphertext, b.ciphertext);
  std::swap(a.nonce, b.nonce);
  ASSERT_TRUE(store_->Secrets().Update(a, 1).has_value());
  EXPECT_EQ(vault_->Value("a").error().code(), Code::kDataLoss);
  // An earlier value under a later version's number.
  const store::SecretRecord old = store_->Secrets().GetByName("b").value();
  ASSERT_TRUE(vault_->Update("b", SecretText("second"), {}).has_value());
  store::SecretRecord back = store_->Secrets().GetByName("b").value();
  back.ciphertext = old.ciphertext;
  back.nonce = old.nonce;
  ASSERT_TRUE(store_->Secrets().Update(back, 2).has_value());
  EXPECT_EQ(vault_->Value("b").error().code(), Code::kDataLoss);
}

}  // namespace
}  // namespace tinderbox::secret
