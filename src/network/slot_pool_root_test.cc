// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "network/slot_pool.h"
#include "network/test_net.h"
#include "sys/netns.h"

namespace tinderbox::network {
namespace {

using base::Code;
using base::Deadline;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::EchoServer;
using testing::Guest;
using testing::PlayedHost;
using testing::Run;
using testing::UniquePrefix;

class SlotPoolRootTest : public ::testing::Test {
 protected:
  SlotPoolRootTest() { options_.prefix = UniquePrefix(); }
  ~SlotPoolRootTest() override {
    pool_.reset();
    const auto removed = RemoveAll(options_);
    EXPECT_TRUE(removed) << removed.error().ToString();
  }
  void Open() {
    auto pool = OpenSlotPool(options_);
    ASSERT_TRUE(pool) << pool.error().ToString() << " " << pool.error().remedy();
    pool_ = std::move(*pool);
  }

  PlayedHost host_;
  PoolOptions options_{.cidr = "10.212.0.0/16", .quarantine = milliseconds(0)};
  std::unique_ptr<SlotPool> pool_;
};

TEST_F(SlotPoolRootTest, MakesAndRemovesASlot) {
  Open();
  const auto slot = pool_->Acquire({}, 100000);
  ASSERT_TRUE(slot) << slot.error().ToString() << " " << slot.error().remedy();
  EXPECT_EQ(slot->index, 1u);
  EXPECT_EQ(slot->netns_name, options_.prefix + "-1");
  EXPECT_EQ(slot->netns_path, "/run/netns/" + options_.prefix + "-1");
  EXPECT_EQ(slot->tap, "tap0");
  EXPECT_EQ(slot->uid, 100001u);
  const auto released = pool_->Release(1);
  ASSERT_TRUE(released) << released.error().ToString();
  EXPECT_FALSE(sys::OpenNetNs(slot->netns_name));
}

TEST_F(SlotPoolRootTest, DialsTheGuest) {
  Open();
  const auto slot = pool_->Acquire({}, 100000);
  ASSERT_TRUE(slot);
  Guest guest(*slot);
  EchoServer server(guest.netns(), {49983});
  const auto before = std::chrono::steady_clock::now();
  const auto fd = pool_->Dial(1, 49983, Deadline::After(seconds(5)));
  const auto took = std::chrono::steady_clock::now() - before;
  ASSERT_TRUE(fd) << fd.error().ToString();
  printf("dial took %ld us\n",
         (long)std::chrono::duration_cast<std::chrono::microseconds>(took).count());
}

TEST_F(SlotPoolRootTest, AcquireIsQuick) {
  Open();
  std::vector<double> ms, rel;
  for (int i = 0; i < 20; ++i) {
    auto t0 = std::chrono::steady_clock::now();
    auto slot = pool_->Acquire({}, 100000);
    auto t1 = std::chrono::steady_clock::now();
    ASSERT_TRUE(slot) << slot.error().ToString();
    ASSERT_TRUE(pool_->Release(slot->index));
    auto t2 = std::chrono::steady_clock::now();
    ms.push_back(std::chrono::duration<double, std::milli>(t1 - t0).count());
    rel.push_back(std::chrono::duration<double, std::milli>(t2 - t1).count());
  }
  std::ranges::sort(ms);
  std::ranges::sort(rel);
  printf("acquire median %.2f ms max %.2f; release median %.2f max %.2f\n", ms[10], ms[19], rel[10],
         rel[19]);
}

}  // namespace
}  // namespace tinderbox::network
