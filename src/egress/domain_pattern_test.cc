// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "egress/domain_pattern.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tinderbox::egress {
namespace {

bool Matches(std::string_view pattern, std::string_view name) {
  return DomainPattern::Parse(pattern).value().Matches(NormalHostName(name).value());
}

TEST(DomainPattern, NameStandsForItselfAlone) {
  EXPECT_TRUE(Matches("example.com", "example.com"));
  EXPECT_TRUE(Matches("Example.COM.", "eXample.com."));
  EXPECT_FALSE(Matches("example.com", "www.example.com"));
  EXPECT_FALSE(Matches("example.com", "example.com.evil.test"));
  EXPECT_FALSE(Matches("example.com", "notexample.com"));
}

TEST(DomainPattern, WildcardStandsForAllBelowButNotTheApex) {
  EXPECT_TRUE(Matches("*.example.com", "a.example.com"));
  EXPECT_TRUE(Matches("*.example.com", "a.b.c.example.com"));
  EXPECT_FALSE(Matches("*.example.com", "example.com"));
  EXPECT_FALSE(Matches("*.example.com", "evilexample.com"));
  EXPECT_FALSE(Matches("*.example.com", "a.example.com.evil.test"));
  EXPECT_EQ(DomainPattern::Parse("*.Example.com")->text(), "*.example.com");
}

TEST(DomainPattern, RefusesWhatIsNoName) {
  for (const std::string text :
       {"", "*", "*.", "*.*.com", "a.*.com", "www*.com", "a..b", ".com", "-a.com", "a-.com",
        "192.0.2.1", "*.192.0.2.1", "2001:db8::1",
        "b\xc3\xbc"
        "cher.test",
        "a b.com", "a/b.com", "http://example.com", "example.com:443", "a.123"}) {
    EXPECT_FALSE(DomainPattern::Parse(text)) << text;
  }
  EXPECT_FALSE(DomainPattern::Parse(std::string(64, 'a') + ".com"));
  EXPECT_TRUE(DomainPattern::Parse(std::string(63, 'a') + ".com"));
  std::string deep = "com";
  while (deep.size() <= 253) deep = "abcdefgh." + deep;
  EXPECT_FALSE(DomainPattern::Parse(deep));
}

TEST(NormalHostName, TakesWhatClientsTake) {
  EXPECT_EQ(NormalHostName("localhost"), "localhost");
  EXPECT_EQ(NormalHostName("_dmarc.Example.com"), "_dmarc.example.com");
  EXPECT_EQ(NormalHostName("xn--bcher-kva.test"), "xn--bcher-kva.test");
  EXPECT_EQ(NormalHostName(std::string_view("a\0b.com", 7)), std::nullopt);
  EXPECT_EQ(NormalHostName("."), std::nullopt);
}

}  // namespace
}  // namespace tinderbox::egress
