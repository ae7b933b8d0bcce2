// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <vector>

#include "network/nftables.h"
#include "sys/fd.h"
#include "sys/file.h"

namespace tinderbox::network {
namespace {

// As in a daemon with more than a thousand clients: libnftables uses select(2), and glibc aborts
// the process at descriptor 1024.
TEST(NftablesRootTest, NeedsNoLowDescriptor) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit raised{.rlim_cur = 4096, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &raised), 0);
  std::vector<sys::UniqueFd> held;
  do {
    held.push_back(sys::Open("/dev/null", O_RDONLY).value());
  } while (held.back().get() < 1100);
  const auto tables = RunNft("list tables\n");
  EXPECT_TRUE(tables) << tables.error().ToString();
  EXPECT_FALSE(RunNft("no such command\n"));
  held.clear();
  ::setrlimit(RLIMIT_NOFILE, &before);
}

}  // namespace
}  // namespace tinderbox::network
