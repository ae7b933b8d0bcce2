// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "network/slot_pool.h"
#include "network/test_net.h"

namespace tinderbox::network::testing {

// What a pool could leave behind, for comparison before and after.
struct HostState {
  explicit HostState(const std::string& prefix);
  std::vector<std::string> namespaces;  // of this prefix
  std::vector<std::string> links;
  std::string tables;
  std::string routes;
  std::size_t descriptors = 0;
  bool operator==(const HostState&) const = default;
};
std::ostream& operator<<(std::ostream& out, const HostState& state);

// A pool with a prefix of its own on a played host; all of it is removed at the end.
class PoolTest : public ::testing::Test {
 protected:
  static constexpr uid_t kUidBase = 100000;

  PoolTest() { options_.prefix = UniquePrefix(); }
  ~PoolTest() override {
    pool_.reset();
    const auto removed = RemoveAll(options_);
    EXPECT_TRUE(removed) << removed.error().ToString();
  }
  void Open() {
    auto pool = OpenSlotPool(options_);
    ASSERT_TRUE(pool) << pool.error().ToString() << " " << pool.error().remedy();
    pool_ = std::move(*pool);
  }
  Slot Acquire(const EgressPolicy& policy = {}) {
    auto slot = pool_->Acquire(policy);
    if (!slot) {
      ADD_FAILURE() << slot.error().ToString() << " " << slot.error().remedy();
      return {};
    }
    return *slot;
  }
  // Releases, and waits until it is removed.
  void ReleaseNow(std::uint32_t index) {
    ASSERT_TRUE(pool_->Release(index));
    ASSERT_TRUE(pool_->Sweep());
  }

  PlayedHost host_;
  PoolOptions options_{
      .cidr = "10.212.0.0/16", .quarantine = std::chrono::milliseconds(0), .uid_base = kUidBase};
  std::unique_ptr<SlotPool> pool_;
};

}  // namespace tinderbox::network::testing
