// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace tinderbox::base {
namespace {

Result<int> Half(int n) {
  if (n % 2 != 0) return Fail(Code::kInvalidArgument, "halve an odd number");
  return n / 2;
}

Result<int> Quarter(int n) {
  const int half = TRY(Half(n));
  return TRY_CTX(Half(half), "second step");
}

TEST(Error, TryYieldsTheValueOrReturnsTheError) {
  EXPECT_EQ(Quarter(12).value(), 3);
  EXPECT_EQ(Quarter(3).error().message(), "halve an odd number");
  EXPECT_EQ(Quarter(6).error().message(), "second step: halve an odd number");
}

TEST(Error, ErrnoIsNamedInWordsAndBySymbol) {
  const Error error = Error::FromErrno(ENOENT, "open '/nowhere'");
  EXPECT_EQ(error.code(), Code::kNotFound);
  EXPECT_EQ(error.ToString(), "open '/nowhere': No such file or directory (ENOENT)");
}

TEST(Error, RemedyStaysApartFromTheMessage) {
  const Error error = Error(Code::kFailedPrecondition, "listen on 127.0.0.1:3000")
                          .WithRemedy("Choose another port.");
  EXPECT_EQ(error.ToString(), "listen on 127.0.0.1:3000");
  EXPECT_EQ(error.remedy(), "Choose another port.");
}

}  // namespace
}  // namespace tinderbox::base
