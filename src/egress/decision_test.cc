// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "egress/decision.h"

#include <gtest/gtest.h>

namespace tinderbox::egress {
namespace {

sys::Ipv4 Address(const char* text) { return sys::Ipv4::Parse(text).value(); }
sys::Ipv4Prefix Network(const char* text) { return sys::Ipv4Prefix::Parse(text).value(); }
DomainPatterns Names(std::initializer_list<const char*> texts) {
  DomainPatterns patterns;
  for (const char* text : texts) patterns.push_back(DomainPattern::Parse(text).value());
  return patterns;
}

const sys::Ipv4 kSomewhere = Address("203.0.113.1");

TEST(Decide, AllowedNameGoesWhereTheNameLeads) {
  const Rules rules{.names = Names({"example.com"}), .deny = {Network("0.0.0.0/0")}};
  EXPECT_EQ(Decide(rules, "example.com", kSomewhere), Verdict::kByName);
  EXPECT_EQ(Decide(rules, "other.test", kSomewhere), Verdict::kRefuse);
  EXPECT_EQ(Decide(rules, "", kSomewhere), Verdict::kRefuse);
  EXPECT_EQ(Decide(rules, "example.com", Address("10.0.0.1")), Verdict::kByName)
      << "what was dialled is of no account";
}

TEST(Decide, AddressesAreHeldAgainstTheNetworks) {
  const Rules rules{.deny = {Network("203.0.113.0/24")}, .allow = {Network("203.0.113.7/32")}};
  EXPECT_EQ(Decide(rules, "x.test", kSomewhere), Verdict::kRefuse);
  EXPECT_EQ(Decide(rules, "x.test", Address("203.0.113.7")), Verdict::kByAddress);
  EXPECT_EQ(Decide(rules, "", Address("192.0.2.1")), Verdict::kByAddress);
  EXPECT_EQ(Decide({.allow_internet = false}, "", kSomewhere), Verdict::kRefuse);
}

TEST(Decide, PrivateNetworksAreOutOfReachWhateverIsAllowed) {
  const Rules rules{.allow = {Network("10.0.0.0/8")}};
  EXPECT_EQ(Decide(rules, "", Address("10.0.0.1")), Verdict::kRefuse);
  EXPECT_FALSE(IsPublic(Address("169.254.169.254")));
  EXPECT_FALSE(IsPublic(Address("127.0.0.1")));
  EXPECT_TRUE(IsPublic(kSomewhere));
}

}  // namespace
}  // namespace tinderbox::egress
