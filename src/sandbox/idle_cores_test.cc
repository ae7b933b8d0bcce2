// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/idle_cores.h"

#include <gtest/gtest.h>

namespace tinderbox::sandbox {
namespace {

TEST(IdleCores, IsTheAverageSinceTheLastWindow) {
  IdleCores idle;
  EXPECT_EQ(idle.Update("1000.00 1500.00\n"), 0) << "nothing to compare with yet";
  EXPECT_DOUBLE_EQ(idle.Update("1001.00 1501.50\n"), 1.5);
  EXPECT_DOUBLE_EQ(idle.Update("1001.10 1501.50\n"), 1.5) << "too short to tell";
  EXPECT_DOUBLE_EQ(idle.Update("1002.00 1501.50\n"), 0);
}

TEST(IdleCores, TheCallersOwnWorkCountsAsIdle) {
  IdleCores idle;
  idle.Update("10.00 10.00\n");
  idle.AddOwn(std::chrono::milliseconds(500));
  EXPECT_DOUBLE_EQ(idle.Update("11.00 10.25\n"), 0.75);
  EXPECT_DOUBLE_EQ(idle.Update("12.00 10.25\n"), 0) << "counted once";
}

TEST(IdleCores, WhatIsNotReadableIsNotIdle) {
  IdleCores idle;
  idle.Update("10.00 10.00\n");
  for (const char* text : {"", "x", "11.00", "11.00 ", "11.00 x"}) EXPECT_EQ(idle.Update(text), 0);
}

}  // namespace
}  // namespace tinderbox::sandbox
