// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "base/base64.h"

#include <gtest/gtest.h>

namespace tinderbox::base {
namespace {

TEST(Base64Test, EncodesTheVectorsOfRfc4648) {
  EXPECT_EQ(EncodeBase64(""), "");
  EXPECT_EQ(EncodeBase64("f"), "Zg==");
  EXPECT_EQ(EncodeBase64("fo"), "Zm8=");
  EXPECT_EQ(EncodeBase64("foo"), "Zm9v");
  EXPECT_EQ(EncodeBase64("foob"), "Zm9vYg==");
  EXPECT_EQ(EncodeBase64("fooba"), "Zm9vYmE=");
  EXPECT_EQ(EncodeBase64("foobar"), "Zm9vYmFy");
}

TEST(Base64Test, DecodesWhatItEncodes) {
  std::string bytes;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_EQ(DecodeBase64(EncodeBase64(bytes)).value_or("?"), bytes) << i;
    bytes += static_cast<char>(i * 7 + i / 256);
  }
}

TEST(Base64Test, TakesMissingPaddingAndTheUrlAlphabet) {
  EXPECT_EQ(DecodeBase64("Zg").value_or("?"), "f");
  EXPECT_EQ(DecodeBase64("Zm8").value_or("?"), "fo");
  EXPECT_EQ(DecodeBase64("-_8").value_or("?"), DecodeBase64("+/8=").value_or("!"));
}

TEST(Base64Test, RefusesTheRest) {
  for (const char* bad : {"Z", "Zg=", "Z===", "Zm9v!mFy", "Zm9vY", "Zg==Zg==", "Zm 9", "Zm9\n"}) {
    std::string out = "kept";
    EXPECT_FALSE(AppendFromBase64(out, bad)) << bad;
    EXPECT_EQ(out, "kept");
  }
}

}  // namespace
}  // namespace tinderbox::base
