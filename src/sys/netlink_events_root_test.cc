// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "sys/netlink.h"
#include "sys/netlink_events.h"
#include "sys/netns.h"

namespace tinderbox::sys {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;

// Events of a namespace that only this test has.
class NetlinkEventsRootTest : public ::testing::Test {
 protected:
  void Inside(const std::function<base::Result<>()>& work) {
    const auto done = RunInNetNs(netns_, work);
    ASSERT_TRUE(done) << done.error().ToString();
  }
  void AddAddress(const std::string& text) {
    Inside([&]() -> base::Result<> {
      RouteSocket route = TRY(RouteSocket::Open());
      TRY(route.SetUp("lo"));
      return route.AddAddress("lo", TRY(Ipv4Prefix::Parse(text)));
    });
  }
  UniqueFd netns_ = NewNetNs().value();
};

std::vector<std::string> Prefixes(FdRef events) {
  std::vector<std::string> seen;
  const auto drained = DrainEvents(events, [&](const nlmsghdr& message) {
    if (const auto prefix = LocalPrefixOf(message)) seen.push_back(prefix->ToString());
    return false;
  });
  EXPECT_TRUE(drained);
  EXPECT_FALSE(drained.value_or(true)) << "nothing was dropped";
  return seen;
}

TEST_F(NetlinkEventsRootTest, TellsOfAddressesThatCome) {
  UniqueFd events;
  Inside([&]() -> base::Result<> {
    events = TRY(OpenRouteEvents());
    return {};
  });
  EXPECT_THAT(Prefixes(events), IsEmpty());
  AddAddress("203.0.113.5/24");
  EXPECT_THAT(Prefixes(events), Contains("203.0.113.5/32"));
  EXPECT_THAT(Prefixes(events), IsEmpty()) << "each is read once";
}

TEST_F(NetlinkEventsRootTest, SaysSoIfTheKernelDroppedSome) {
  UniqueFd events;
  Inside([&]() -> base::Result<> {
    events = TRY(OpenRouteEvents());
    return {};
  });
  const int least = 1;
  ASSERT_EQ(setsockopt(events.get(), SOL_SOCKET, SO_RCVBUF, &least, sizeof least), 0);
  for (int i = 1; i < 60; ++i) AddAddress("203.0.113." + std::to_string(i) + "/32");
  const auto drained = DrainEvents(events, [](const nlmsghdr&) { return false; });
  ASSERT_TRUE(drained);
  EXPECT_TRUE(*drained);
}

TEST_F(NetlinkEventsRootTest, ListsWhatIsLocal) {
  AddAddress("203.0.113.5/24");
  Inside([&]() -> base::Result<> {
    std::vector<std::string> prefixes;
    RouteSocket route = TRY(RouteSocket::Open());
    for (const Ipv4Prefix& prefix : TRY(route.LocalPrefixes())) {
      prefixes.push_back(prefix.ToString());
    }
    EXPECT_THAT(prefixes, Contains("203.0.113.5/32"));
    EXPECT_THAT(prefixes, Contains("127.0.0.0/8"));
    // On a loopback device the kernel takes the whole network as its own: addresses alone would
    // not say so.
    EXPECT_THAT(prefixes, Contains("203.0.113.0/24"));
    return {};
  });
}

TEST_F(NetlinkEventsRootTest, TheGenerationStaysWithoutAChange) {
  Inside([&]() -> base::Result<> {
    const UniqueFd socket = TRY(OpenNetfilter());
    const std::uint32_t first = TRY(NftGeneration(socket));
    EXPECT_EQ(TRY(NftGeneration(socket)), first);
    return {};
  });
}

}  // namespace
}  // namespace tinderbox::sys
