// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "base/split.h"

#include <gmock/gmock.h>

namespace tinderbox::base {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Split, LeavesEmptyPartsOut) {
  EXPECT_THAT(Split("a b", ' '), ElementsAre("a", "b"));
  EXPECT_THAT(Split("  a   b ", ' '), ElementsAre("a", "b"));
  EXPECT_THAT(Split("one line\n", '\n'), ElementsAre("one line"));
  EXPECT_THAT(Split("alone", ','), ElementsAre("alone"));
  EXPECT_THAT(Split("", ','), IsEmpty());
  EXPECT_THAT(Split(",,", ','), IsEmpty());
}

TEST(Split, SeparatesAtZeroBytes) {
  EXPECT_THAT(Split(std::string_view("a=1\0b=2\0", 8), '\0'), ElementsAre("a=1", "b=2"));
}

}  // namespace
}  // namespace tinderbox::base
