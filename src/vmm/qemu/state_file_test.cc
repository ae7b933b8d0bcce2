// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/qemu/state_file.h"

#include <gtest/gtest.h>

namespace tinderbox::vmm::qemu {
namespace {

TEST(StateFile, ComesBackAsItWas) {
  const std::string state("QEVM\0\0\0\3 and so on", 18);
  EXPECT_EQ(UnwrapState(WrapState(state)).value(), state);
  EXPECT_EQ(UnwrapState(WrapState("")).value(), "");
}

TEST(StateFile, AnyFlippedBitAndAnyCutIsFound) {
  const std::string good = WrapState("some state of some device");
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    const auto state = UnwrapState(bad);
    ASSERT_FALSE(state) << bit;
    EXPECT_EQ(state.error().code(), base::Code::kDataLoss);
    EXPECT_NE(state.error().remedy(), "");
  }
  for (std::size_t size = 0; size < good.size(); ++size)
    EXPECT_FALSE(UnwrapState(good.substr(0, size))) << size;
  EXPECT_FALSE(UnwrapState(good + "x"));
}

}  // namespace
}  // namespace tinderbox::vmm::qemu
