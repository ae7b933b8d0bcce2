// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "intercept/body.h"

#include <gtest/gtest.h>

namespace tinderbox::intercept {
namespace {

using Kind = Framing::Kind;

// What of `text` is the body's, fed `step` bytes at a time; -1 for broken, -2 for not complete.
int TakenOf(const Framing& framing, std::string_view text, std::size_t step) {
  Body body(framing);
  std::size_t at = 0;
  while (at < text.size() && !body.done()) {
    const auto taken = body.Take(text.substr(at, step));
    if (!taken) return -1;
    at += *taken;
  }
  return body.done() ? static_cast<int>(at) : -2;
}

void ExpectTaken(const Framing& framing, std::string_view text, int want) {
  for (const std::size_t step : {std::size_t{1}, std::size_t{2}, std::size_t{7}, text.size() + 1}) {
    EXPECT_EQ(TakenOf(framing, text, step), want) << text << " by " << step;
  }
}

TEST(Body, ByLength) {
  ExpectTaken({Kind::kLength, 5}, "12345GET /", 5);
  ExpectTaken({Kind::kLength, 5}, "1234", -2);
  EXPECT_TRUE(Body({Kind::kLength, 0}).done());
  EXPECT_TRUE(Body({}).done());
}

TEST(Body, UntilClose) {
  Body body({Kind::kUntilClose, 0});
  EXPECT_EQ(body.Take("anything").value(), 8u);
  EXPECT_FALSE(body.done());
  EXPECT_TRUE(body.until_close());
}

TEST(Body, ByChunks) {
  const Framing chunked{Kind::kChunked, 0};
  ExpectTaken(chunked, "0\r\n\r\nGET /", 5);
  ExpectTaken(chunked, "5\r\nhello\r\n0\r\n\r\nGET", 15);
  ExpectTaken(chunked, "A;x=\"y\"\r\n0123456789\r\n00\r\nTrailer: x\r\nTwo: y\r\n\r\nG", 47);
  ExpectTaken(chunked, "5\r\nhello\r\n0\r\n", -2);
  for (const std::string_view broken :
       {"\r\n", "x\r\n", "5\nhello\r\n0\r\n\r\n", "5\r\nhelloX\n0\r\n\r\n", "5\r\nhello\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\nA\rB\r\n\r\n",
        "5 \x01\r\nhello", "10000000000000000\r\n", "0\r\n\rX"}) {
    ExpectTaken(chunked, broken, -1);
  }
  ExpectTaken(chunked, "5;" + std::string(2000, 'x') + "\r\nhello\r\n0\r\n\r\n", -1);
  std::string trailers = "0\r\n";
  for (int i = 0; i < 400; ++i) trailers += "Name: " + std::string(50, 'x') + "\r\n";
  ExpectTaken(chunked, trailers + "\r\n", -1);
}

}  // namespace
}  // namespace tinderbox::intercept
