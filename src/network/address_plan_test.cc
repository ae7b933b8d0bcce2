// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "network/address_plan.h"

#include <gtest/gtest.h>

namespace tinderbox::network {
namespace {

TEST(AddressPlan, DerivesEverythingFromTheIndex) {
  const auto plan = AddressPlan::Make({.prefix = "tb", .cidr = "10.211.0.0/16"});
  ASSERT_TRUE(plan) << plan.error().ToString();
  EXPECT_EQ(plan->NetNsName(7), "tb-7");
  EXPECT_EQ(plan->VethName(7), "tbv7");
  EXPECT_EQ(plan->VethPattern(), "tbv*");
  EXPECT_EQ(plan->HostTable(), "tb_net");
  EXPECT_EQ(plan->HostAddress(1).ToString(), "10.211.0.1/30");
  EXPECT_EQ(plan->UplinkAddress(1).ToString(), "10.211.0.2/30");
  EXPECT_EQ(plan->HostAddress(65).ToString(), "10.211.1.1/30");
  EXPECT_EQ(plan->UplinkAddress(16384).ToString(), "10.211.255.254/30");
}

TEST(AddressPlan, GivesNoAddressTwiceAndNoneOutsideTheNetwork) {
  const auto plan = AddressPlan::Make({.cidr = "10.211.128.0/20", .max_slots = 1024});
  ASSERT_TRUE(plan);
  for (std::uint32_t index = 1; index <= 1024; ++index) {
    const sys::Ipv4Prefix host = plan->HostAddress(index);
    EXPECT_TRUE(plan->cidr().Contains(host.network()));
    EXPECT_TRUE(plan->cidr().Contains(host.last()));
    EXPECT_EQ(host.network(), plan->UplinkAddress(index).network());
    EXPECT_NE(host.address, plan->UplinkAddress(index).address);
    if (index > 1) {
      EXPECT_GT(host.network(), plan->HostAddress(index - 1).last());
    }
  }
}

TEST(AddressPlan, KnowsItsOwnNamesAndNoOthers) {
  const auto plan = AddressPlan::Make({.prefix = "tb"});
  ASSERT_TRUE(plan);
  for (const std::uint32_t index : {1u, 9u, 10u, 1024u, 16384u}) {
    EXPECT_EQ(plan->IndexOfNetNs(plan->NetNsName(index)), index);
    EXPECT_EQ(plan->IndexOfVeth(plan->VethName(index)), index);
    EXPECT_LT(plan->VethName(index).size(), 16u) << "IFNAMSIZ";
  }
  for (const char* name : {"", "tb", "tb-", "tb-0", "tb-01", "tb--1", "tb-+1", "tb-1x", "tb- 1",
                           "tbx-1", "xtb-1", "tb-16385", "tb-99999999999999999999", "tbv1"}) {
    EXPECT_EQ(plan->IndexOfNetNs(name), 0u) << name;
  }
  for (const char* name : {"tbv", "tbv0", "tbvv1", "tbv1-", "tb-1", "tb1v1", "tbv16385"}) {
    EXPECT_EQ(plan->IndexOfVeth(name), 0u) << name;
  }
}

TEST(AddressPlan, RefusesBadOptionsWithARemedy) {
  const PoolOptions bad[] = {
      {.prefix = ""},
      {.prefix = "toolong"},
      {.prefix = "Tb"},
      {.prefix = "1tb"},
      {.prefix = "t-b"},
      {.prefix = "t b"},
      {.prefix = "t\"b"},
      {.cidr = "10.211.0.1/16"},
      {.cidr = "10.211.0.0/31", .max_slots = 1},
      {.cidr = "10.211.0.0/24", .max_slots = 65},
      {.cidr = "10.0.0.0/8", .max_slots = 16385},
      {.max_slots = 0},
      {.cidr = "127.0.0.0/16"},
      {.cidr = "169.254.0.0/16"},
      {.cidr = "224.0.0.0/16"},
      {.cidr = "0.0.0.0/0"},
  };
  for (const PoolOptions& options : bad) {
    const auto plan = AddressPlan::Make(options);
    ASSERT_FALSE(plan) << options.prefix << " " << options.cidr << " " << options.max_slots;
    EXPECT_EQ(plan.error().code(), base::Code::kInvalidArgument);
    EXPECT_FALSE(plan.error().remedy().empty()) << plan.error().ToString();
  }
  EXPECT_FALSE(AddressPlan::Make({.cidr = "nonsense"}));
  EXPECT_TRUE(AddressPlan::Make({.cidr = "10.211.0.0/24", .max_slots = 64}));
  EXPECT_TRUE(AddressPlan::Make({.prefix = "abcde9", .cidr = "10.0.0.0/8", .max_slots = 16384}));
}

}  // namespace
}  // namespace tinderbox::network
