// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "net/gather.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "sys/fd.h"

namespace tinderbox::net {
namespace {

class GatherTest : public testing::Test {
 protected:
  void SetUp() override {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    ours_.Reset(ends[0]);
    theirs_.Reset(ends[1]);
  }
  std::string Arrived() {
    std::string all(1 << 20, '\0');
    const ssize_t n = ::recv(theirs_.get(), all.data(), all.size(), MSG_DONTWAIT);
    all.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
    return all;
  }
  sys::UniqueFd ours_;
  sys::UniqueFd theirs_;
};

TEST_F(GatherTest, PiecesArriveInOrderInOneCall) {
  EXPECT_TRUE(Gather("", "", "").done());
  Gather gather("head", "", "tail");
  EXPECT_EQ(gather.SendSome(ours_.get()), 8);
  EXPECT_TRUE(gather.done());
  EXPECT_EQ(Arrived(), "headtail");
}

TEST_F(GatherTest, GoesOnWhereAFullSocketStopped) {
  const std::string body = std::string(900001, 'b') + std::string(900001, 'c');
  Gather gather("head", body, "tail");
  std::string arrived;
  int full = 0;
  while (!gather.done()) {
    if (gather.SendSome(ours_.get()) >= 0) continue;
    ASSERT_EQ(errno, EAGAIN);
    ++full;
    arrived += Arrived();
  }
  for (std::string more = Arrived(); !more.empty(); more = Arrived()) arrived += more;
  EXPECT_GT(full, 0);
  EXPECT_TRUE(arrived == "head" + body + "tail") << arrived.size();
}

TEST_F(GatherTest, AGonePeerIsAnErrorAndNoSignal) {
  theirs_.Reset();
  Gather gather("head", "", "");
  EXPECT_EQ(gather.SendSome(ours_.get()), -1);
  EXPECT_EQ(errno, EPIPE);
  EXPECT_FALSE(gather.done());
}

}  // namespace
}  // namespace tinderbox::net
