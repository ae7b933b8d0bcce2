// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <net/if.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "sys/netlink.h"
#include "sys/netlink_tap.h"
#include "sys/netns.h"

namespace tinderbox::sys {
namespace {

using base::Code;

// Two namespaces that only this test has; every socket belongs to the first.
class RouteSocketRootTest : public ::testing::Test {
 protected:
  void SetUp() override {
    here_ = NewNetNs().value();
    there_ = NewNetNs().value();
    Inside(here_, [&]() -> base::Result<> {
      route_ = std::make_unique<RouteSocket>(TRY(RouteSocket::Open()));
      return {};
    });
  }
  static void Inside(FdRef netns, const std::function<base::Result<>()>& work) {
    const auto done = RunInNetNs(netns, work);
    ASSERT_TRUE(done) << done.error().ToString();
  }
  base::Result<> AddPair() {
    return route().AddVeth({.name = "left",
                            .mac = {2, 0, 0, 0, 0, 1},
                            .peer_name = "right",
                            .peer_mac = {2, 0, 0, 0, 0, 2},
                            .peer_netns = there_});
  }
  RouteSocket& route() { return *route_; }

  // An empty one where there is no such link.
  LinkInfo Find(const std::string& name) {
    const auto found = route().FindLink(name);
    EXPECT_TRUE(found) << name;
    return found ? found->value_or(LinkInfo{}) : LinkInfo{};
  }

  UniqueFd here_;
  UniqueFd there_;
  std::unique_ptr<RouteSocket> route_;
};

TEST_F(RouteSocketRootTest, MakesAPairAcrossNamespaces) {
  ASSERT_TRUE(AddPair());
  EXPECT_EQ(Find("left").kind, "veth");
  EXPECT_FALSE(*route().FindLink("right")) << "it is in the other namespace";
  const auto look = [&]() -> base::Result<> {
    RouteSocket other = TRY(RouteSocket::Open());
    EXPECT_TRUE(TRY(other.FindLink("right")));
    return {};
  };
  Inside(there_, look);
  const auto again = AddPair();
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code(), Code::kAlreadyExists);
  EXPECT_EQ(again.error().errno_value(), EEXIST) << "the kernel's own";
  EXPECT_TRUE(*route().DeleteLink("left"));
  EXPECT_FALSE(*route().DeleteLink("left"));
  const auto gone = [&]() -> base::Result<> {
    RouteSocket other = TRY(RouteSocket::Open());
    EXPECT_FALSE(TRY(other.FindLink("right")));
    return {};
  };
  Inside(there_, gone);
}

TEST_F(RouteSocketRootTest, AddressesAndRoutesAreThereAfterwards) {
  ASSERT_TRUE(AddPair());
  ASSERT_TRUE(route().AddAddress("left", Ipv4Prefix::Parse("10.9.8.1/30").value()));
  ASSERT_TRUE(route().SetUp("left"));
  const Ipv4 gateway = Ipv4::Parse("10.9.8.2").value();
  ASSERT_TRUE(route().AddPermanentNeighbour("left", gateway, {2, 0, 0, 0, 0, 2}));
  ASSERT_TRUE(route().AddRoute(Ipv4Prefix{}, gateway, "left"));
  const auto routes = route().Routes();
  ASSERT_TRUE(routes);
  std::vector<std::string> destinations;
  for (const RouteInfo& info : *routes) destinations.push_back(info.destination.ToString());
  std::ranges::sort(destinations);
  EXPECT_EQ(destinations, (std::vector<std::string>{"0.0.0.0/0", "10.9.8.0/30"}));
  const int index = Find("left").index;
  for (const RouteInfo& info : *routes) {
    EXPECT_EQ(info.link_indexes, std::vector<int>{index});
  }
  EXPECT_EQ(
      route().AddAddress("left", Ipv4Prefix::Parse("10.9.8.1/30").value()).error().errno_value(),
      EEXIST);
}

TEST_F(RouteSocketRootTest, ErrorsNameTheLink) {
  const auto up = route().SetUp("nolink");
  ASSERT_FALSE(up);
  EXPECT_EQ(up.error().errno_value(), ENODEV);
  EXPECT_NE(up.error().message().find("nolink"), std::string::npos);
  EXPECT_FALSE(*route().FindLink("nolink"));
  EXPECT_FALSE(route().FindLink("")) << "no name";
  EXPECT_FALSE(route().FindLink("sixteen-letters-")) << "too long a name";
}

TEST_F(RouteSocketRootTest, ATapHasItsOwner) {
  const auto make = []() -> base::Result<> {
    TRY(AddTap("tap9", 4242, 4242));
    EXPECT_EQ(AddTap("tap9", 1, 1).error().code(), Code::kAlreadyExists);
    EXPECT_EQ(OpenTap("tap8").error().code(), Code::kNotFound);
    const UniqueFd first = TRY(OpenTap("tap9"));
    EXPECT_FALSE(OpenTap("tap9")) << "one at a time";
    return {};
  };
  Inside(here_, make);
  EXPECT_EQ(route().TapOwner("tap9").value(), 4242u);
  EXPECT_EQ(Find("tap9").kind, "tun");
  EXPECT_EQ(route().TapOwner("lo").value(), std::nullopt);
  EXPECT_FALSE(route().TapOwner("tap8"));
}

}  // namespace
}  // namespace tinderbox::sys
