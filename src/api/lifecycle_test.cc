// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Pause, resume, connect, fork, snapshots and rollback, over real sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/api_test_fixture.h"

namespace tinderbox::api {
namespace {

using base::Code;
using sandbox::PauseMode;
using sandbox::State;
using sandbox::TimeoutAction;
using testing::ElementsAre;

sandbox::SandboxInfo Paused(const std::string& id, PauseMode mode = PauseMode::kFull) {
  auto info = Running(id);
  info.state = State::kPaused;
  info.pause_mode = mode;
  return info;
}

TEST_F(ApiTest, PauseTakesEveryBodyOfEveryClient) {
  for (const auto& [body, mode, strict] : std::vector<std::tuple<std::string, PauseMode, bool>>{
           {"", PauseMode::kFull, false},
           {"{}", PauseMode::kFull, false},
           {R"({"memory":true})", PauseMode::kFull, false},
           {R"({"memory":false})", PauseMode::kFilesystem, false},
           {R"({"requireHealthyGuest":true})", PauseMode::kFull, true}}) {
    manager_.Put(Running("i1"));
    const auto response = Call("POST", "/sandboxes/i1/pause", body);
    EXPECT_EQ(response.status, 204) << body << response.body;
    EXPECT_EQ(response.body, "");
    ASSERT_FALSE(manager_.pauses.empty());
    EXPECT_EQ(manager_.pauses.back().mode, mode) << body;
    EXPECT_EQ(manager_.pauses.back().require_healthy, strict) << body;
    ExpectError(Call("POST", "/sandboxes/i1/pause"), 409);
  }
  ExpectError(Call("POST", "/sandboxes/ix/pause"), 404, "ix");
  ExpectError(Call("POST", "/sandboxes/i1/pause", R"({"quickly":true})"), 400, "'quickly'");
  ExpectError(Call("POST", "/sandboxes/i1/pause", R"({"memory":1})"), 400, "'memory'");
}

TEST_F(ApiTest, APauseThatCannotBeLeavesItRunningAndIsNotRepeated) {
  for (const Code code : {Code::kUnavailable, Code::kResourceExhausted}) {
    manager_.Put(Running("i1"));
    manager_.fail_change = base::Error(code, "the agent does not answer");
    for (const char* route :
         {"/sandboxes/i1/pause", "/sandboxes/i1/fork", "/sandboxes/i1/snapshots"}) {
      const auto response = Call("POST", route);
      ExpectError(response, 503, "does not answer");
      EXPECT_EQ(Header(response, "Should-Retry"), "false");
      EXPECT_EQ(Header(response, "Retry-After"), "");
    }
  }
}

TEST_F(ApiTest, ConnectResumesWhatIsPaused) {
  manager_.Put(Running("i1"));
  EXPECT_EQ(Call("POST", "/v2/sandboxes/i1/connect", R"({"memory":false})").status, 200);
  EXPECT_TRUE(manager_.resumes.empty());
  manager_.Put(Paused("i1"));
  const auto resumed = Call("POST", "/v2/sandboxes/i1/connect");
  EXPECT_EQ(resumed.status, 201);
  EXPECT_EQ(Json(resumed).at("envdAccessToken").as_string(), "token-of-i1");
  EXPECT_EQ(manager_.resumes.back().timeout->count(), 300);
  EXPECT_FALSE(manager_.resumes.back().reboot);
  EXPECT_FALSE(manager_.resumes.back().on_timeout);
  manager_.Put(Paused("i1"));
  const auto rebooted = Call("POST", "/sandboxes/i1/connect", R"({"timeout":7,"memory":false})");
  EXPECT_EQ(rebooted.status, 201);
  EXPECT_EQ(manager_.resumes.back().timeout->count(), 7);
  EXPECT_TRUE(manager_.resumes.back().reboot);
  ExpectError(Call("POST", "/sandboxes/i1/connect", R"({"timeout":7,"autoPause":true})"), 400);
}

TEST_F(ApiTest, ResumeIsForPausedOnesOnly) {
  manager_.Put(Running("i1"));
  ExpectError(Call("POST", "/sandboxes/i1/resume", "{}"), 409);
  manager_.Put(Paused("i1"));
  EXPECT_EQ(Call("POST", "/sandboxes/i1/resume").status, 201);
  EXPECT_EQ(manager_.resumes.back().timeout->count(), 15);
  manager_.Put(Paused("i1"));
  EXPECT_EQ(
      Call("POST", "/sandboxes/i1/resume", R"({"timeout":60,"autoPause":true,"memory":false})")
          .status,
      201);
  EXPECT_EQ(manager_.resumes.back().on_timeout, TimeoutAction::kPause);
  EXPECT_TRUE(manager_.resumes.back().reboot);
}

TEST_F(ApiTest, AMemoryInWhichTheAgentHungIsNotRestored) {
  auto info = Paused("i1");
  info.agent_silent_at_pause = true;
  manager_.Put(info);
  for (const char* route :
       {"/sandboxes/i1/connect", "/v2/sandboxes/i1/connect", "/sandboxes/i1/resume"}) {
    const auto response = Call("POST", route, R"({"timeout":9})");
    ExpectError(response, 409, "agent");
    EXPECT_EQ(Json(response).at("error_code").as_string(),
              "sandbox_snapshot_guest_agent_unresponsive");
    EXPECT_EQ(Header(response, "Should-Retry"), "false");
  }
  EXPECT_TRUE(Json(Call("GET", "/sandboxes/i1")).at("envdUnresponsiveAtPause").as_bool());
  EXPECT_EQ(Call("POST", "/v2/sandboxes/i1/connect", R"({"memory":false})").status, 201);
  EXPECT_FALSE(Json(Call("GET", "/sandboxes/i1")).as_object().contains("envdUnresponsiveAtPause"));
}

TEST_F(ApiTest, TheLifecycleIsAskedForAtCreate) {
  const auto create = [this](const std::string& fields) {
    EXPECT_EQ(Call("POST", "/v2/sandboxes", R"({"templateID":"base",)" + fields + "}").status, 201);
    return manager_.creates.back();
  };
  auto seen = create(R"("autoPause":true,"autoResume":{"enabled":true})");
  EXPECT_EQ(seen.on_timeout, TimeoutAction::kPause);
  EXPECT_EQ(seen.auto_pause_mode, PauseMode::kFull);
  EXPECT_TRUE(seen.auto_resume);
  EXPECT_FALSE(seen.cold);
  const auto lifecycle = Json(Call("GET", "/sandboxes/inew1")).at("lifecycle");
  EXPECT_EQ(lifecycle, boost::json::parse(R"({"onTimeout":"pause","autoResume":true})"));
  seen = create(R"("autoPause":true,"autoPauseMemory":false)");
  EXPECT_EQ(seen.auto_pause_mode, PauseMode::kFilesystem);
  EXPECT_FALSE(seen.auto_resume);
  seen = create(R"("autoPause":false,"cold":true)");
  EXPECT_EQ(seen.on_timeout, TimeoutAction::kKill);
  EXPECT_TRUE(seen.cold);
}

TEST_F(ApiTest, ADetailTellsHowItWasPaused) {
  manager_.Put(Paused("i1", PauseMode::kFilesystem));
  manager_.Put(Running("i2"));
  const auto paused = Json(Call("GET", "/sandboxes/i1")).as_object();
  EXPECT_EQ(paused.at("state").as_string(), "paused");
  EXPECT_EQ(paused.at("pauseMode").as_string(), "filesystem");
  EXPECT_FALSE(Json(Call("GET", "/sandboxes/i2")).as_object().contains("pauseMode"));
  EXPECT_EQ(Json(Call("GET", "/v2/sandboxes?state=paused")).as_array().size(), 1u);
}

TEST_F(ApiTest, ForksAreToldEachForItself) {
  manager_.Put(Running("i1"));
  const auto one = Json(Call("POST", "/sandboxes/i1/fork")).as_array();
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].at("sandbox").at("sandboxID").as_string(), "i1child0");
  EXPECT_EQ(manager_.forks.back().count, 1u);
  EXPECT_EQ(manager_.forks.back().timeout->count(), 15);
  const auto response = Call("POST", "/sandboxes/i1/fork", R"({"count":3,"timeout":60})");
  EXPECT_EQ(response.status, 201);
  const auto three = Json(response).as_array();
  ASSERT_EQ(three.size(), 3u);
  EXPECT_EQ(three[1].at("error").at("code").as_int64(), 429);
  EXPECT_EQ(three[1].at("error").at("message").as_string(), "no room for the second");
  EXPECT_FALSE(three[1].as_object().contains("sandbox"));
  EXPECT_EQ(manager_.forks.back().timeout->count(), 60);
  ExpectError(Call("POST", "/sandboxes/i1/fork", R"({"count":101})"), 400, "'count'");
  ExpectError(Call("POST", "/sandboxes/i1/fork", R"({"count":0})"), 400, "'count'");
  manager_.Put(Paused("i2"));
  ExpectError(Call("POST", "/sandboxes/i2/fork"), 409);
}

TEST_F(ApiTest, SnapshotsAreMadeAndListedInPages) {
  manager_.Put(Running("i1"));
  manager_.Put(Running("i2"));
  const auto unnamed = Call("POST", "/sandboxes/i1/snapshots");
  EXPECT_EQ(unnamed.status, 201);
  EXPECT_EQ(Json(unnamed), boost::json::parse(R"({"snapshotID":"snap0:default","names":[]})"));
  const auto named = Call("POST", "/sandboxes/i1/snapshots", R"({"name":"Mine","memory":false})");
  EXPECT_EQ(Json(named),
            boost::json::parse(
                R"({"snapshotID":"tinderbox/mine:default","names":["tinderbox/mine:default"]})"));
  EXPECT_EQ(manager_.snapshot_options.back().name, "mine");
  EXPECT_EQ(manager_.snapshot_options.back().mode, PauseMode::kFilesystem);
  Call("POST", "/sandboxes/i2/snapshots", R"({"name":"tinderbox/mine:v2"})");
  EXPECT_EQ(manager_.snapshot_options.back().name, "mine:v2");
  ExpectError(Call("POST", "/sandboxes/i1/snapshots", R"({"name":"a b"})"), 400, "'name'");
  ExpectError(Call("POST", "/sandboxes/i1/snapshots", R"({"name":"other/x"})"), 400, "your team");
  const auto walk = [this](const std::string& query) {
    std::vector<std::string> ids;
    std::string token;
    do {
      const auto page = Call("GET", "/snapshots?limit=1" + query + "&nextToken=" + token);
      EXPECT_EQ(page.status, 200) << page.body;
      for (const auto& each : Json(page).as_array()) {
        ids.emplace_back(each.at("snapshotID").as_string());
      }
      token = Header(page, "X-Next-Token");
    } while (!token.empty() && ids.size() < 10);
    return ids;
  };
  EXPECT_THAT(walk(""),
              ElementsAre("tinderbox/mine:v2", "tinderbox/mine:default", "snap0:default"));
  EXPECT_THAT(walk("&sandboxID=i1"), ElementsAre("tinderbox/mine:default", "snap0:default"));
  EXPECT_THAT(walk("&name=mine"), ElementsAre("tinderbox/mine:v2", "tinderbox/mine:default"));
  EXPECT_THAT(walk("&name=mine:v2"), ElementsAre("tinderbox/mine:v2"));
  EXPECT_EQ(Json(Call("GET", "/snapshots")).as_array().size(), 3u);
  for (const char* bad : {"limit=0", "limit=101", "nextToken=x", "sandboxID=A"}) {
    ExpectError(Call("GET", std::string("/snapshots?") + bad), 400);
  }
}

TEST_F(ApiTest, RollbackNamesItsSnapshot) {
  manager_.Put(Running("i1"));
  Call("POST", "/sandboxes/i1/snapshots");
  const auto rolled =
      Call("POST", "/tinderbox/v1/sandboxes/i1/rollback", R"({"snapshot":"snap0:default"})");
  EXPECT_EQ(rolled.status, 200) << rolled.body;
  EXPECT_EQ(Json(rolled).at("sandboxID").as_string(), "i1");
  EXPECT_THAT(manager_.rollbacks, ElementsAre("i1 snap0"));
  ExpectError(Call("POST", "/tinderbox/v1/sandboxes/i1/rollback", "{}"), 400, "'snapshot'");
  ExpectError(Call("POST", "/tinderbox/v1/sandboxes/i1/rollback", R"({"snapshot":"none"})"), 404);
}

TEST_F(ApiTest, TimingsAreToldToThoseWhoAsk) {
  const auto plain = Json(Call("POST", "/v2/sandboxes", R"({"templateID":"base"})")).as_object();
  EXPECT_FALSE(plain.contains("timingsMs"));
  const auto timed =
      Json(Call("POST", "/v2/sandboxes?timings=true", R"({"templateID":"base"})")).as_object();
  EXPECT_EQ(timed.at("startedBy").as_string(), "restore");
  EXPECT_EQ(timed.at("timingsMs").at("total").to_number<int>(), 20);
  const auto creates = manager_.creates.size();
  ExpectError(Call("POST", "/v2/sandboxes?timings=yes", R"({"templateID":"base"})"), 400);
  EXPECT_EQ(manager_.creates.size(), creates);
}

}  // namespace
}  // namespace tinderbox::api
