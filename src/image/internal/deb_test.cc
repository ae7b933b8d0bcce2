// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/deb.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "image/internal/test_files.h"
#include "sys/file.h"

namespace tinderbox::image {
namespace {

using base::Code;

class DebTest : public ::testing::Test {
 protected:
  base::Result<> Read(const std::string& bytes) {
    const auto path = dir_.path() + "/package.deb";
    EXPECT_TRUE(sys::WriteFileAtomic(path, bytes));
    taken_.clear();
    DebVisitor visitor;
    visitor.wants = [](std::string_view file) { return !file.starts_with("usr/"); };
    visitor.take = [&](std::string file, std::string content) -> base::Result<> {
      taken_[file] = std::move(content);
      return {};
    };
    return ReadDeb(path, visitor);
  }
  const testing::TempDir dir_;
  std::map<std::string, std::string> taken_;
};

TEST_F(DebTest, HandsOutTheFilesThatAreWanted) {
  const auto big = testing::Noise(1'000'000);
  const auto read =
      Read(testing::MakeDeb({{"boot/vmlinuz-1", big}, {"usr/doc", "no"}, {"lib/x.ko", ""}}));
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_EQ(taken_,
            (std::map<std::string, std::string>{{"boot/vmlinuz-1", big}, {"lib/x.ko", ""}}));
}

TEST_F(DebTest, RefusesPackagesThatAreCutOff) {
  const auto deb = testing::MakeDeb({{"boot/vmlinuz-1", testing::Noise(50'000)}});
  for (std::size_t size = 0; size + 4 < deb.size(); size += 1 + size / 8) {
    const auto read = Read(deb.substr(0, size));
    ASSERT_FALSE(read) << size;
    EXPECT_EQ(read.error().code(), Code::kDataLoss) << read.error().ToString();
  }
}

TEST_F(DebTest, RefusesWhatIsNoPackage) {
  EXPECT_EQ(Read("").error().code(), Code::kDataLoss);
  EXPECT_EQ(Read("#!/bin/sh\n").error().code(), Code::kDataLoss);
  EXPECT_EQ(Read(testing::Noise(100'000)).error().code(), Code::kDataLoss);
}

TEST_F(DebTest, SurvivesDamage) {
  const auto deb = testing::MakeDeb({{"boot/vmlinuz-1", testing::Noise(50'000)}});
  for (std::size_t at = 0; at < deb.size(); at += 1 + at / 16) {
    auto damaged = deb;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x55);
    static_cast<void>(Read(damaged));
  }
}

}  // namespace
}  // namespace tinderbox::image
