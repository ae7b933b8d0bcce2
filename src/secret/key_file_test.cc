// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "secret/key_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>

#include "sys/file.h"

namespace tinderbox::secret {
namespace {

using base::Code;

class KeyFileTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "tb-key-XXXXXX";
    ASSERT_NE(mkdtemp(dir_.data()), nullptr);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string Path() const { return dir_ + "/secrets.key"; }

  std::string dir_;
};

std::string Text(const Key& key) {
  return {reinterpret_cast<const char*>(key.data()), Key::kBytes};
}

TEST_F(KeyFileTest, WhatIsMadeIsReadAgainAndNobodyElseMayReadIt) {
  EXPECT_FALSE(ReadKeyFile(Path()).value().has_value());
  const auto made = MakeKeyFile(Path());
  ASSERT_TRUE(made.has_value()) << made.error().ToString();
  EXPECT_EQ(sys::Stat(Path())->st_mode & 07777, 0600u);
  EXPECT_EQ(Text(*ReadKeyFile(Path()).value()), Text(*made));
  EXPECT_NE(Text(*made), std::string(Key::kBytes, '\0'));
  EXPECT_NE(Text(*made), Text(MakeKeyFile(dir_ + "/other").value()));
}

TEST_F(KeyFileTest, WhatIsNoKeyIsRefusedWithARemedy) {
  for (const std::size_t size : {0, 31, 33}) {
    ASSERT_TRUE(sys::WriteFileAtomic(Path(), std::string(size, 'k'), 0600).has_value());
    const auto read = ReadKeyFile(Path());
    ASSERT_FALSE(read.has_value()) << size;
    EXPECT_EQ(read.error().code(), Code::kDataLoss);
    EXPECT_FALSE(read.error().remedy().empty());
  }
}

TEST_F(KeyFileTest, AnExposedKeyIsRefused) {
  ASSERT_TRUE(MakeKeyFile(Path()).has_value());
  ASSERT_EQ(::chmod(Path().c_str(), 0640), 0);
  EXPECT_EQ(ReadKeyFile(Path()).error().code(), Code::kFailedPrecondition);
  ASSERT_EQ(::chmod(Path().c_str(), 0600), 0);
  EXPECT_TRUE(ReadKeyFile(Path()).value().has_value());
  std::filesystem::create_symlink(Path(), dir_ + "/link");
  EXPECT_FALSE(ReadKeyFile(dir_ + "/link").has_value());
}

}  // namespace
}  // namespace tinderbox::secret
