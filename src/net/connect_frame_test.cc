// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "net/connect_frame.h"

#include <gtest/gtest.h>

namespace tinderbox::net {
namespace {

TEST(ConnectFrame, EncodesHeadAndPayload) {
  EXPECT_EQ(EncodeConnectFrame(0, "{}"), std::string("\0\0\0\0\2{}", 7));
  EXPECT_EQ(EncodeConnectEnd(), std::string("\2\0\0\0\2{}", 7));
  const std::string end = EncodeConnectEnd(ConnectError{ConnectCode::kNotFound, "no \"x\""});
  EXPECT_EQ(end.substr(5), R"({"error":{"code":"not_found","message":"no \"x\""}})");
}

TEST(ConnectFrame, DecoderTakesAnySplit) {
  const std::string stream =
      EncodeConnectFrame(0, R"({"a":1})") + EncodeConnectFrame(0, "") + EncodeConnectEnd();
  for (std::size_t step = 1; step <= stream.size(); ++step) {
    ConnectDecoder decoder(64);
    std::vector<ConnectFrame> frames;
    for (std::size_t at = 0; at < stream.size(); at += step) {
      ASSERT_TRUE(decoder.Feed(std::string_view(stream).substr(at, step)).has_value());
      while (auto frame = decoder.Next()) frames.push_back(std::move(*frame));
    }
    ASSERT_EQ(frames.size(), 3U) << step;
    EXPECT_EQ(frames[0].payload, R"({"a":1})");
    EXPECT_EQ(frames[1].payload, "");
    EXPECT_TRUE(frames[2].end_stream());
    EXPECT_TRUE(decoder.at_boundary());
  }
}

TEST(ConnectFrame, DecoderKnowsAHalfFrame) {
  ConnectDecoder decoder(64);
  ASSERT_TRUE(decoder.Feed(std::string_view("\0\0\0\0\2{", 6)).has_value());
  EXPECT_FALSE(decoder.Next().has_value());
  EXPECT_FALSE(decoder.at_boundary());
}

TEST(ConnectFrame, DecoderRefusesWhatIsTooLongBeforeItComes) {
  ConnectDecoder decoder(10);
  const auto fed = decoder.Feed(std::string_view("\0\0\0\0\x0b", 5));
  ASSERT_FALSE(fed.has_value());
  EXPECT_EQ(fed.error().code(), base::Code::kResourceExhausted);
  EXPECT_FALSE(decoder.Feed("x").has_value()) << "stays failed";
}

TEST(ConnectFrame, DecoderRefusesCompressionAndBytesAfterTheEnd) {
  ConnectDecoder compressed(64);
  EXPECT_EQ(compressed.Feed(std::string_view("\1\0\0\0\2{}", 7)).error().code(),
            base::Code::kInvalidArgument);
  ConnectDecoder same_feed(64);
  EXPECT_FALSE(same_feed.Feed(EncodeConnectEnd() + "x").has_value());
  ConnectDecoder later(64);
  ASSERT_TRUE(later.Feed(EncodeConnectEnd()).has_value());
  ASSERT_TRUE(later.Next().has_value());
  EXPECT_FALSE(later.Feed("x").has_value());
}

TEST(ConnectFrame, CodesHaveNamesAndStatuses) {
  for (int i = 1; i <= 16; ++i) {
    const auto code = static_cast<ConnectCode>(i);
    EXPECT_EQ(ConnectCodeFromName(ConnectCodeName(code)), code);
  }
  EXPECT_EQ(ConnectHttpStatus(ConnectCode::kUnauthenticated), 401U);
  EXPECT_EQ(ConnectHttpStatus(ConnectCode::kCanceled), 499U);
  EXPECT_EQ(ConnectHttpStatus(ConnectCode::kNotFound), 404U);
  EXPECT_FALSE(ConnectCodeFromName("ok").has_value());
}

}  // namespace
}  // namespace tinderbox::net
