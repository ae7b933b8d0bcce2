// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The commands that keep and restore states, against a daemon that the test plays.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

#include "cli/cli_fixture.h"

namespace tinderbox::cli {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

class StatesTest : public CliTest {
 protected:
  StatesTest() {
    daemon_->AddSandbox("i3kabc", "web", "running");
    daemon_->AddTemplate("t1", "base", "");
    daemon_->AddTemplate("s1", "ready:v2", "i3kabc");
    daemon_->AddTemplate("s2", "", "igone");
  }
  FakeDaemon::Request LastOf(const std::string& prefix) {
    const auto seen = daemon_->Seen(prefix);
    return seen.empty() ? FakeDaemon::Request{} : seen.back();
  }
};

TEST_F(StatesTest, PauseAndResumeSayWhatTheyAreTold) {
  const Outcome paused = Run({"pause", "web"});
  EXPECT_EQ(paused.out, "i3kabc\n") << paused.err;
  EXPECT_EQ(LastOf("/sandboxes/i3kabc/pause").body, "{}");
  EXPECT_EQ(Run({"pause", "--disk-only", "--require-healthy", "web"}).status, 0);
  EXPECT_EQ(LastOf("/sandboxes/i3kabc/pause").body,
            R"({"memory":false,"requireHealthyGuest":true})");
  EXPECT_EQ(Run({"pause", "web", "nope", "--json"}).status, 1);
  EXPECT_EQ(Run({"resume", "web"}).out, "i3kabc\n");
  EXPECT_EQ(LastOf("/sandboxes/i3kabc/resume").body, R"({"timeout":300})");
  Run({"resume", "--timeout", "1h", "--on-timeout", "kill", "--reboot", "web"});
  EXPECT_EQ(LastOf("/sandboxes/i3kabc/resume").body,
            R"({"timeout":3600,"autoPause":false,"memory":false})");
}

TEST_F(StatesTest, APausedSandboxIsTalkedToOnlyWhereThatResumesIt) {
  daemon_->AddSandbox("islept", "asleep", "paused");
  const Outcome refused = Run({"exec", "asleep", "--", "streams"});
  EXPECT_EQ(refused.status, 125);
  EXPECT_THAT(refused.err,
              HasSubstr("is paused, not running\n  Resume it: tinderbox resume islept"));
  daemon_->SetAutoResume("islept");
  EXPECT_EQ(Run({"exec", "asleep", "--", "streams"}).status, 7);
}

TEST_F(StatesTest, TimingsGoToStandardError) {
  const Outcome resumed = Run({"resume", "--timings", "web"});
  EXPECT_EQ(LastOf("/sandboxes/i3kabc/resume").target, "/sandboxes/i3kabc/resume?timings=true");
  EXPECT_EQ(resumed.out, "i3kabc\n");
  EXPECT_THAT(resumed.err, HasSubstr("started by: restore"));
  EXPECT_THAT(resumed.err, HasSubstr("20.0"));
  const Outcome created =
      Run({"create", "--timings", "--cold", "--on-timeout", "pause", "--auto-resume"});
  EXPECT_THAT(created.out, testing::StartsWith("i0"));
  EXPECT_THAT(created.err, HasSubstr("started by: pool"));
  EXPECT_EQ(
      LastOf("/v2/sandboxes").body,
      R"({"templateID":"base","timeout":300,"autoPause":true,"autoResume":{"enabled":true},"cold":true})");
  const Outcome json = Run({"create", "--timings", "--json"});
  EXPECT_EQ(json.err, "");
  EXPECT_THAT(json.out, HasSubstr("timingsMs"));
}

TEST_F(StatesTest, ForkPrintsEachChild) {
  EXPECT_EQ(Run({"fork", "web"}).out, "ichild\n");
  EXPECT_EQ(LastOf("/sandboxes/i3kabc/fork").body, R"({"count":1,"timeout":300})");
  const Outcome two = Run({"fork", "-n", "2", "web"});
  EXPECT_EQ(two.status, 1);
  EXPECT_EQ(two.out, "ichild\n");
  EXPECT_THAT(two.err, HasSubstr("no slot\n  Wait."));
  EXPECT_THAT(boost::json::parse(Run({"fork", "-n", "2", "--json", "web"}).out).as_array(),
              SizeIs(2));
}

TEST_F(StatesTest, SnapshotsAreMadeListedAndRemoved) {
  EXPECT_EQ(Run({"snapshot", "create", "--name", "n:v", "--disk-only", "web"}).out, "s1:default\n");
  EXPECT_EQ(LastOf("/sandboxes/i3kabc/snapshots").body, R"({"name":"n:v","memory":false})");
  const Outcome all = Run({"snapshot", "ls"});
  EXPECT_THAT(all.out, HasSubstr("ready:v2"));
  EXPECT_THAT(all.out, HasSubstr("5 MiB"));
  EXPECT_THAT(all.out, Not(HasSubstr("base")));
  EXPECT_EQ(Run({"snapshot", "ls", "-q", "web"}).out, "s1\n");
  EXPECT_EQ(Run({"snapshot", "ls", "-q", "igone"}).out, "s2\n");  // its sandbox is no more
  EXPECT_THAT(boost::json::parse(Run({"snapshot", "ls", "--json"}).out).as_array(), SizeIs(2));
  EXPECT_EQ(Run({"rollback", "web", "ready:v2"}).out, "i3kabc\n");
  EXPECT_EQ(LastOf("/tinderbox/v1/sandboxes/i3kabc/rollback").body, R"({"snapshot":"ready:v2"})");
  EXPECT_EQ(Run({"snapshot", "rm", "s1"}).out, "s1\n");
  EXPECT_EQ(Run({"snapshot", "rm", "s1"}).status, 1);
  EXPECT_EQ(Run({"snapshot", "rm", "-f", "s1"}).status, 0);
}

TEST_F(StatesTest, TemplatesAreListedInspectedAndVerified) {
  const Outcome list = Run({"template", "ls"});
  EXPECT_THAT(list.out, HasSubstr("base"));
  EXPECT_THAT(list.out, HasSubstr("snapshot"));
  EXPECT_EQ(Run({"templates"}).out, list.out);
  EXPECT_EQ(Run({"templates", "-q"}).out, "s1\ns2\nt1\n");
  EXPECT_THAT(Run({"template", "inspect", "t1"}).out, HasSubstr("\"storedBytes\": 5242880"));
  EXPECT_EQ(Run({"template", "verify", "t1"}).out, "t1: ok\n");
  const Outcome missing = Run({"snapshot", "verify", "nope"});
  EXPECT_EQ(missing.status, 1);
  EXPECT_THAT(missing.err, HasSubstr("not found"));
  // Names are one segment of the path, whatever they hold.
  Run({"template", "rm", "a/b:c"});
  EXPECT_EQ(LastOf("/templates/").target, "/templates/a%2Fb%3Ac");
  EXPECT_EQ(Run({"prune"}).out, "removed boot snapshot 'x'\n4 KiB freed\n");
}

}  // namespace
}  // namespace tinderbox::cli
