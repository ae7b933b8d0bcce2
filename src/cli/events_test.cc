// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox events, against a daemon that the test plays.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/cli_fixture.h"

namespace tinderbox::cli {
namespace {

using testing::HasSubstr;

class EventsTest : public CliTest {};

// The fake daemon has 130: number n of sandbox "n", in the order of their times.
TEST_F(EventsTest, TheLastOnesComeTheOldestFirst) {
  const Outcome some = Run({"events", "-n", "2"});
  EXPECT_EQ(some.status, 0);
  EXPECT_EQ(some.out,
            "TIME   SANDBOX   EVENT     DETAIL\n"
            "t129   129       paused    memory ?[0m\n"
            "t130   130       updated   its time has no end\n");
  EXPECT_EQ(daemon_->Seen("/events").back().target, "/events/sandboxes?offset=0&limit=2");
}

TEST_F(EventsTest, ManyComeInPages) {
  const Outcome all = Run({"events", "-n", "500"});
  EXPECT_EQ(std::ranges::count(all.out, '\n'), 131);
  EXPECT_THAT(all.out, HasSubstr("\nt1   "));
  EXPECT_EQ(daemon_->Seen("/events").size(), 2u);
  EXPECT_THAT(Run({"events", "--json"}).out, HasSubstr("\"sandboxId\": \"111\""));
}

TEST_F(EventsTest, OfOneThatIsGoneByItsId) {
  const std::string id = "i01234567890123456789";
  EXPECT_EQ(Run({"events", id}).status, 0);
  EXPECT_EQ(daemon_->Seen("/events").back().target,
            "/events/sandboxes/" + id + "?offset=0&limit=20");
  EXPECT_EQ(Run({"events", "-n", "0"}).status, 2);
}

}  // namespace
}  // namespace tinderbox::cli
