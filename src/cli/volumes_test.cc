// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox volume, against a daemon that the test plays.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/cli_fixture.h"

namespace tinderbox::cli {
namespace {

using testing::HasSubstr;

class VolumesTest : public CliTest {};

TEST_F(VolumesTest, MakesListsAndRemoves) {
  EXPECT_EQ(Run({"volume", "create", "data"}).out, "data\n");
  EXPECT_EQ(daemon_->Seen("/volumes").back().body, R"({"name":"data"})");
  EXPECT_THAT(Run({"volume", "create", "--json", "more"}).out, HasSubstr("\"token\": "));
  EXPECT_EQ(Run({"volume", "ls", "-q"}).out, "data\nmore\n");
  EXPECT_THAT(Run({"volume", "ls"}).out, HasSubstr("vol-data"));
  EXPECT_EQ(Run({"volume", "rm", "data"}).out, "data\n");
  EXPECT_EQ(daemon_->Seen("/volumes/").back().target, "/volumes/vol-data");
  EXPECT_EQ(Run({"volume", "rm", "vol-more"}).status, 0);
  const Outcome gone = Run({"volume", "rm", "data"});
  EXPECT_EQ(gone.status, 1);
  EXPECT_THAT(gone.err, HasSubstr("data"));
  EXPECT_EQ(Run({"volume", "rm", "-f", "data"}).status, 0);
  EXPECT_EQ(Run({"volume"}).status, 2);
}

TEST_F(VolumesTest, NewSandboxesMountThem) {
  EXPECT_EQ(Run({"create", "-v", "data:/mnt/data", "--volume", "more:/srv:x"}).status, 0);
  EXPECT_THAT(daemon_->Seen("/v2/sandboxes").back().body,
              HasSubstr(R"("volumeMounts":[{"name":"data","path":"/mnt/data"},)"
                        R"({"name":"more","path":"/srv:x"}])"));
  EXPECT_EQ(Run({"create", "-v", "data"}).status, 2);
  EXPECT_EQ(Run({"create", "-v", ":/mnt"}).status, 2);
}

}  // namespace
}  // namespace tinderbox::cli
