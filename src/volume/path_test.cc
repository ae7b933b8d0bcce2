// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "volume/path.h"

#include <gtest/gtest.h>

namespace tinderbox::volume {
namespace {

std::string Normal(std::string_view text) {
  const auto path = Path::Parse(text);
  return path ? path->ToString() : "refused";
}

TEST(PathTest, OnePlaceHasOneForm) {
  EXPECT_EQ(Normal("/data/x"), "/data/x");
  EXPECT_EQ(Normal("data//x/"), "/data/x");
  EXPECT_EQ(Normal("./data/./x"), "/data/x");
  for (const char* root : {"", "/", ".", "//", "/."}) EXPECT_EQ(Normal(root), "/") << root;
  EXPECT_EQ(Normal("/...a/..b"), "/...a/..b");
}

TEST(PathTest, RefusesWhatLeadsUpOrIsNoPath) {
  EXPECT_EQ(Normal(".."), "refused");
  EXPECT_EQ(Normal("/a/../b"), "refused");
  EXPECT_EQ(Normal(std::string_view("a\0b", 3)), "refused");
  EXPECT_EQ(Normal(std::string(255, 'a')), "/" + std::string(255, 'a'));
  EXPECT_EQ(Normal(std::string(256, 'a')), "refused");
  std::string deep;
  while (deep.size() <= 4096) deep += "/a";
  EXPECT_EQ(Normal(deep), "refused");
}

TEST(PathTest, PartsAndParents) {
  const auto path = Path::Parse("/a/b/c");
  ASSERT_TRUE(path);
  EXPECT_EQ(path->Relative(), "a/b/c");
  EXPECT_EQ(path->Parent(), "a/b");
  EXPECT_EQ(path->name(), "c");
  EXPECT_EQ(path->Relative(0), ".");
  EXPECT_EQ(Path::Parse("/x")->Parent(), ".");
}

TEST(VolumeNameTest, Alphabet) {
  for (const char* good : {"a", "My_volume-1", "0"}) EXPECT_TRUE(IsValidVolumeName(good)) << good;
  EXPECT_TRUE(IsValidVolumeName(std::string(128, 'a')));
  EXPECT_FALSE(IsValidVolumeName(std::string(129, 'a')));
  for (const char* bad : {"", ".", "..", "a/b", "a b", "a.b", "\xc3\xa9"}) {
    EXPECT_FALSE(IsValidVolumeName(bad)) << bad;
  }
}

}  // namespace
}  // namespace tinderbox::volume
