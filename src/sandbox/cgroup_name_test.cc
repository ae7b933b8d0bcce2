// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/cgroup_name.h"

#include <gtest/gtest.h>

namespace tinderbox::sandbox {
namespace {

// A later daemon finds what this one made, so the name must stay. `printf %s iabc | sha256sum`.
TEST(CgroupName, IsDerivedFromTheIdAndDoesNotShowIt) {
  EXPECT_EQ(CgroupName("tinderbox", "iabc"), "tinderbox/vm-a1fcf726e46b05a2");
  EXPECT_NE(CgroupName("tinderbox", "iabc"), CgroupName("tinderbox", "iabd"));
}

}  // namespace
}  // namespace tinderbox::sandbox
