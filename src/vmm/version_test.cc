// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/version.h"

#include <gtest/gtest.h>

namespace tinderbox::vmm {
namespace {

TEST(ParseVersion, WhatTheProgramsPrint) {
  EXPECT_EQ(ParseVersion("Firecracker v1.12.1\n\n2026-01-01 exiting\n", "Firecracker v").value(),
            (Version{1, 12, 1}));
  EXPECT_EQ(
      ParseVersion("QEMU emulator version 7.2.22 (Debian 1:7.2)", "QEMU emulator version ").value(),
      (Version{7, 2, 22}));
  EXPECT_EQ(ParseVersion("Firecracker v1.17.0-dev", "Firecracker v").value(), (Version{1, 17, 0}));
  EXPECT_EQ(ParseVersion("x 9.1", "x ").value(), (Version{9, 1, 0}));
}

TEST(ParseVersion, AnythingElse) {
  for (const char* text : {"", "Firecracker v", "Firecracker v1", "Firecracker v1.",
                           "Firecracker vx.1", "Firecracker v99999999999.1", "QEMU 7.2"})
    EXPECT_FALSE(ParseVersion(text, "Firecracker v")) << text;
}

TEST(CheckFirecrackerVersion, RefusesTheOnesWithTheHole) {
  for (const Version& good :
       {Version{1, 10, 0}, Version{1, 12, 1}, Version{1, 12, 99}, Version{1, 14, 4},
        Version{1, 15, 1}, Version{1, 16, 0}, Version{2, 0, 0}})
    EXPECT_TRUE(CheckFirecrackerVersion(good)) << good.ToString();
  for (const Version& bad :
       {Version{1, 13, 0}, Version{1, 13, 9}, Version{1, 14, 0}, Version{1, 14, 3},
        Version{1, 15, 0}, Version{1, 9, 1}, Version{0, 25, 0}}) {
    const auto checked = CheckFirecrackerVersion(bad);
    ASSERT_FALSE(checked) << bad.ToString();
    EXPECT_EQ(checked.error().code(), base::Code::kFailedPrecondition);
    EXPECT_NE(checked.error().remedy(), "");
  }
}

}  // namespace
}  // namespace tinderbox::vmm
