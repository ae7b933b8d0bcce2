// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox recover, against a daemon that the test plays.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/cli_fixture.h"

namespace tinderbox::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

class RecoverTest : public CliTest {};

TEST_F(RecoverTest, ListsTakesUpAndDeletes) {
  EXPECT_EQ(Run({"recover", "ls", "-q"}).out, "sandbox-i1\nvolume-v1\n");
  const std::string table = Run({"recover", "ls"}).out;
  EXPECT_THAT(table, HasSubstr("no record"));
  EXPECT_THAT(table, Not(HasSubstr("\x1b[0m"))) << "what others wrote is escaped";
  EXPECT_THAT(Run({"recover", "ls", "--json"}).out, HasSubstr("\"volume-v1\""));
  EXPECT_EQ(Run({"recover", "adopt", "--name", "data", "volume-v1"}).out, "data\n");
  EXPECT_EQ(daemon_->Seen("/tinderbox/v1/lost/").back().target,
            "/tinderbox/v1/lost/volume-v1/adopt");
  EXPECT_EQ(daemon_->Seen("/tinderbox/v1/lost/").back().body, R"({"name":"data"})");
  EXPECT_EQ(Run({"recover", "adopt", "volume-v1"}).status, 1);
  EXPECT_EQ(Run({"recover", "rm", "sandbox-i1"}).out, "sandbox-i1\n");
  EXPECT_EQ(Run({"recover", "rm", "sandbox-i1"}).status, 1);
  EXPECT_EQ(Run({"recover", "rm", "-f", "sandbox-i1"}).status, 0);
  EXPECT_EQ(Run({"recover"}).status, 2);
}

}  // namespace
}  // namespace tinderbox::cli
