// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "network/conntrack.h"

#include <gtest/gtest.h>

namespace tinderbox::network {
namespace {

TEST(Conntrack, AllGuestsTogetherLeaveAQuarterToTheHost) {
  for (const std::uint64_t max : {65536u, 262144u, 1048576u}) {
    for (const std::uint32_t slots : {1u, 16u, 64u, 128u}) {
      const std::uint64_t each = ConnectionsPerSlot(max, slots);
      EXPECT_LE(each * slots, GuestShare(max)) << max << " " << slots;
      EXPECT_LE(GuestShare(max) + max / 4, max);
    }
  }
}

TEST(Conntrack, OneGuestGetsNeitherTooManyNorTooFew) {
  EXPECT_EQ(ConnectionsPerSlot(1 << 20, 1), kMostConnections);
  EXPECT_EQ(ConnectionsPerSlot(262144, 576), 341u);
  EXPECT_EQ(ConnectionsPerSlot(65536, 576), kFewestConnections);
  EXPECT_EQ(ConnectionsPerSlot(0, 0), kFewestConnections);
}

TEST(Conntrack, ThePromisedMaximumSuffices) {
  for (const std::uint32_t slots : {1u, 77u, 576u, 16384u}) {
    for (const std::uint32_t connections : {kFewestConnections, 1000u, kMostConnections}) {
      EXPECT_GE(ConnectionsPerSlot(ConntrackMaxFor(connections, slots), slots), connections);
    }
  }
}

}  // namespace
}  // namespace tinderbox::network
