// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox key, against a daemon that the test plays.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/cli_fixture.h"

namespace tinderbox::cli {
namespace {

using testing::HasSubstr;

class KeysTest : public CliTest {
 protected:
  std::string LastBody(const std::string& prefix) {
    const auto seen = daemon_->Seen(prefix);
    return seen.empty() ? "" : seen.back().body;
  }
};

TEST_F(KeysTest, CreatePrintsTheKeyAlone) {
  const Outcome made = Run({"key", "create", "--label", "ci", "--expires", "90d"});
  EXPECT_EQ(made.out, "e2b_0000000000000000000000000000000000000001\n") << made.err;
  EXPECT_EQ(LastBody("/tinderbox/v1/api-keys"), R"({"label":"ci","expiresIn":7776000})");
  EXPECT_THAT(Run({"key", "create", "--json"}).out, HasSubstr("\"key\": \"e2b_"));
  EXPECT_EQ(LastBody("/tinderbox/v1/api-keys"), R"({"label":"unnamed"})");
  EXPECT_EQ(Run({"key", "create", "--expires", "soon"}).status, 2);
}

TEST_F(KeysTest, ListsRemovesAndRotates) {
  Run({"key", "create", "--label", "ci"});
  EXPECT_EQ(Run({"key", "ls", "-q"}).out, "id1\n");
  const Outcome table = Run({"key", "ls"});
  EXPECT_THAT(table.out, HasSubstr("LAST USED"));
  EXPECT_THAT(table.out, HasSubstr("never"));
  EXPECT_THAT(table.out, HasSubstr("(expired)"));
  const Outcome rotated = Run({"key", "rotate", "id1", "--grace", "1h"});
  EXPECT_EQ(rotated.out, "e2b_0000000000000000000000000000000000000002\n") << rotated.err;
  EXPECT_EQ(LastBody("/tinderbox/v1/api-keys/id1/rotate"), R"({"graceSeconds":3600})");
  EXPECT_EQ(Run({"key", "rm", "id1"}).out, "id1\n");
  const Outcome gone = Run({"key", "rm", "id9"});
  EXPECT_EQ(gone.status, 1);
  EXPECT_THAT(gone.err, HasSubstr("not found"));
  EXPECT_EQ(Run({"key", "rm", "-f", "id9"}).status, 0);
  EXPECT_EQ(Run({"key", "rotate", "id9"}).status, 1);
}

}  // namespace
}  // namespace tinderbox::cli
