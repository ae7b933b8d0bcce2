// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "cli/duration.h"
#include "cli/quote.h"
#include "cli/table.h"

namespace tinderbox::cli {
namespace {

using std::chrono::seconds;

TEST(DurationTest, Parses) {
  EXPECT_EQ(ParseDuration("90"), seconds(90));
  EXPECT_EQ(ParseDuration("90s"), seconds(90));
  EXPECT_EQ(ParseDuration("10m"), seconds(600));
  EXPECT_EQ(ParseDuration("1h30m"), seconds(5400));
  EXPECT_EQ(ParseDuration("2d1s"), seconds(172801));
  for (const char* bad : {"", "0", "0s", "s", "-5s", "1.5h", "1h30", "30m1h", "1m1m", "10x", "5 m",
                          "99999999999999999999", "40000d", "9223372036854775807d"}) {
    EXPECT_FALSE(ParseDuration(bad)) << bad;
  }
}

TEST(DurationTest, Describes) {
  EXPECT_EQ(DescribeDuration(seconds(1)), "1 second");
  EXPECT_EQ(DescribeDuration(seconds(59)), "59 seconds");
  EXPECT_EQ(DescribeDuration(seconds(60)), "1 minute");
  EXPECT_EQ(DescribeDuration(seconds(7199)), "1 hour");
  EXPECT_EQ(DescribeDuration(seconds(3 * 86400)), "3 days");
}

TEST(TimestampTest, Parses) {
  EXPECT_EQ(ParseTimestamp("1970-01-02T00:00:00Z"), 86400);
  EXPECT_EQ(ParseTimestamp("2026-11-24T03:12:02.123456Z"), 1795489922);
  EXPECT_EQ(ParseTimestamp("2026-11-24T03:12:02+00:00"), 1795489922);
  EXPECT_FALSE(ParseTimestamp("yesterday"));
  EXPECT_FALSE(ParseTimestamp("2026-11-24T03:12:02"));
}

TEST(QuoteTest, QuotesForAShell) {
  EXPECT_EQ(ShellQuote("http://127.0.0.1:3000"), "http://127.0.0.1:3000");
  EXPECT_EQ(ShellQuote(""), "''");
  EXPECT_EQ(ShellQuote("a b"), "'a b'");
  EXPECT_EQ(ShellQuote("it's"), "'it'\\''s'");
  EXPECT_EQ(ShellQuote("$(reboot)"), "'$(reboot)'");
  EXPECT_EQ(ShellQuote("~"), "'~'");
}

TEST(QuoteTest, EncodesForUrls) {
  EXPECT_EQ(UrlEncode("a-b_c.d~e"), "a-b_c.d~e");
  EXPECT_EQ(UrlEncode("/a b&c=d%é"), "%2Fa%20b%26c%3Dd%25%C3%A9");
}

TEST(QuoteTest, ShowsNoControlCharacters) {
  EXPECT_EQ(Printable("a\x1b[2Jb\x7f\n"), "a?[2Jb??");
  EXPECT_EQ(Printable("é€😀 ü"), "é€😀 ü");
  EXPECT_EQ(Printable("\xc2\x9b"
                      "31m"),
            "?31m")
      << "CSI in one character";
  EXPECT_EQ(Printable("\xc2\xa9"), "©");
  EXPECT_EQ(Printable("\x9b"
                      "31m"),
            "?31m")
      << "and in one byte";
  EXPECT_EQ(Printable("\xc2"), "?") << "its second half may be next";
  EXPECT_EQ(Printable("\xc2\x1b["), "??[");
  EXPECT_EQ(Printable("\xe2\x82"), "\xe2\x82");
  EXPECT_EQ(Printable("\xe2\x1b["), "\xe2?[");
  EXPECT_EQ(PrintableLines("a\tb\r\nc\rd\x1b]0;x\a\n"), "a\tb\r\nc?d?]0;x?\n");
}

TEST(TableTest, AlignsColumns) {
  Table table({"ID", "NAME"});
  table.Add({"i1", "é"});
  table.Add({"i2345", ""});
  table.Add({"i3", "b\x1b[31m"});
  EXPECT_EQ(table.ToString(),
            "ID      NAME\n"
            "i1      é\n"
            "i2345\n"
            "i3      b?[31m\n");
}

}  // namespace
}  // namespace tinderbox::cli
