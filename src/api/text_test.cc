// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/text.h"

#include <gtest/gtest.h>

namespace tinderbox::api {
namespace {

constexpr char kBad[] = "\xef\xbf\xbd";

TEST(ValidUtf8, CharactersStayAndBytesThatAreNoneAreReplaced) {
  EXPECT_EQ(ValidUtf8("aé€😀"), "aé€😀");
  EXPECT_EQ(ValidUtf8("\xff"), kBad);
  EXPECT_EQ(ValidUtf8("a\x80z"), std::string("a") + kBad + "z");
  EXPECT_EQ(ValidUtf8("\xe2\x82"), std::string(kBad) + kBad);             // cut short
  EXPECT_EQ(ValidUtf8("\xc0\xaf"), std::string(kBad) + kBad);             // overlong
  EXPECT_EQ(ValidUtf8("\xed\xa0\x80"), std::string(kBad) + kBad + kBad);  // a surrogate
  EXPECT_EQ(ValidUtf8("\xf4\x90\x80\x80").size(), 12u);                   // beyond Unicode
  EXPECT_EQ(ValidUtf8(""), "");
}

TEST(ValidUtf8, ControlCharactersAreShownWhereAskedFor) {
  EXPECT_EQ(ValidUtf8("\x1b[0m\t\x7f\n", true), "?[0m\t??");
  EXPECT_EQ(ValidUtf8("\x1b\n"), "\x1b\n");
}

}  // namespace
}  // namespace tinderbox::api
