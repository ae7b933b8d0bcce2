// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/netlink_address.h"

#include <gtest/gtest.h>

namespace tinderbox::sys {
namespace {

TEST(Ipv4, ReadsAndWritesDottedQuads) {
  for (const char* text : {"0.0.0.0", "169.254.0.21", "255.255.255.255", "10.211.0.1"}) {
    const auto address = Ipv4::Parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->ToString(), text);
  }
  EXPECT_EQ(Ipv4::Parse("1.2.3.4")->value, 0x01020304u);
}

TEST(Ipv4, RefusesEverythingElse) {
  for (const char* text :
       {"", "1", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.-4", " 1.2.3.4", "1.2.3.4 ",
        "1..3.4", "1.2.3.", "a.b.c.d", "1.2.3.4/8", "99999999999.1.1.1", "+1.2.3.4"}) {
    const auto address = Ipv4::Parse(text);
    ASSERT_FALSE(address) << text;
    EXPECT_EQ(address.error().code(), base::Code::kInvalidArgument);
  }
}

TEST(Ipv4Prefix, KnowsItsNetwork) {
  const auto prefix = Ipv4Prefix::Parse("10.211.3.9/30");
  ASSERT_TRUE(prefix);
  EXPECT_EQ(prefix->network().ToString(), "10.211.3.8");
  EXPECT_EQ(prefix->last().ToString(), "10.211.3.11");
  EXPECT_EQ(prefix->ToString(), "10.211.3.9/30");
  EXPECT_TRUE(prefix->Contains(*Ipv4::Parse("10.211.3.10")));
  EXPECT_FALSE(prefix->Contains(*Ipv4::Parse("10.211.3.12")));
  EXPECT_EQ(Ipv4Prefix::Parse("0.0.0.0/0")->last().ToString(), "255.255.255.255");
  EXPECT_EQ(Ipv4Prefix::Parse("1.2.3.4/32")->network().ToString(), "1.2.3.4");
}

TEST(Ipv4Prefix, Overlaps) {
  const auto wide = *Ipv4Prefix::Parse("10.0.0.0/8");
  const auto narrow = *Ipv4Prefix::Parse("10.211.0.0/16");
  const auto other = *Ipv4Prefix::Parse("10.212.0.0/16");
  EXPECT_TRUE(wide.Overlaps(narrow));
  EXPECT_TRUE(narrow.Overlaps(wide));
  EXPECT_FALSE(narrow.Overlaps(other));
  EXPECT_TRUE(Ipv4Prefix::Parse("0.0.0.0/0")->Overlaps(other));
}

TEST(Ipv4Prefix, RefusesNonsense) {
  for (const char* text : {"", "10.0.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8x",
                           "/8", "10.0.0/8", "10.0.0.0/08"}) {
    EXPECT_FALSE(Ipv4Prefix::Parse(text)) << text;
  }
}

TEST(Mac, ReadsSixBytes) {
  EXPECT_EQ(*ParseMac("02:fc:00:00:00:05"), (Mac{2, 0xfc, 0, 0, 0, 5}));
  for (const char* text : {"", "02:fc:00:00:00", "02:fc:00:00:00:0g", "02-fc-00-00-00-05",
                           "2:fc:00:00:00:005", "02:fc:00:00:00:05:", "-2:fc:00:00:00:05"}) {
    EXPECT_FALSE(ParseMac(text)) << text;
  }
}

}  // namespace
}  // namespace tinderbox::sys
