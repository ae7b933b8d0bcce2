// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Every control route, over real sockets.
#include "api/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <future>
#include <latch>

#include "api/api_test_fixture.h"

namespace tinderbox::api {
namespace {

using base::Code;
using sandbox::State;
using testing::HasSubstr;

// --- Who may call

TEST_F(ApiTest, WithoutAKeyEverythingButHealthIs401) {
  for (const char* target : {"/v2/sandboxes", "/sandboxes/i1", "/tinderbox/v1/info", "/nonsense"}) {
    const auto response = CallWithoutKey("GET", target);
    ExpectError(response, 401, "API key");
    EXPECT_EQ(Header(response, "Should-Retry"), "false");
    EXPECT_THAT(response.body, HasSubstr("remedy"));
  }
  ExpectError(CallWithoutKey("GET", "/v2/sandboxes", {{"X-API-KEY", "e2b_00"}}), 401, "not known");
  ExpectError(CallWithoutKey("GET", "/v2/sandboxes", {{"X-API-KEY", std::string(5000, 'a')}}), 401);
  EXPECT_EQ(CallWithoutKey("GET", "/health").status, 200);
}

TEST_F(ApiTest, TheKeyComesByEitherHeader) {
  EXPECT_EQ(CallWithoutKey("GET", "/v2/sandboxes", {{"x-api-key", key_}}).status, 200);
  EXPECT_EQ(CallWithoutKey("GET", "/v2/sandboxes", {{"Authorization", "Bearer " + key_}}).status,
            200);
  ExpectError(CallWithoutKey("GET", "/v2/sandboxes", {{"Authorization", "Basic " + key_}}), 401);
}

TEST_F(ApiTest, RootOnTheUnixSocketNeedsNoKey) {
  if (geteuid() == 0) {
    EXPECT_EQ(CallAsRoot("GET", "/v2/sandboxes").status, 200);
    const auto made = CallAsRoot("POST", "/tinderbox/v1/api-keys", R"({"label":"laptop"})");
    EXPECT_EQ(made.status, 201);
    const std::string fresh(Json(made).at("key").as_string());
    EXPECT_EQ(CallWithoutKey("GET", "/v2/sandboxes", {{"X-API-KEY", fresh}}).status, 200);
    EXPECT_EQ(CallAsRoot("POST", "/tinderbox/v1/api-keys").status, 201);
    ExpectError(CallAsRoot("GET", "/tinderbox/v1/api-key"), 404, "not known");
    ExpectError(CallAsRoot("POST", "/tinderbox/v1/api-keys", R"({"label":7})"), 400, "label");
  } else {
    ExpectError(CallAsRoot("GET", "/v2/sandboxes"), 401);
  }
  ExpectError(Call("POST", "/tinderbox/v1/api-keys"), 403, "root");
  EXPECT_EQ(Call("GET", "/tinderbox/v1/api-key").status, 204);
  EXPECT_EQ(CallWithoutKey("GET", "/tinderbox/v1/api-key", {{"X-API-KEY", "e2b_x"}}).status, 401);
}

// --- Create

TEST_F(ApiTest, CreateAnswersInE2bsShape) {
  const auto response = Call(
      "POST", "/v2/sandboxes",
      R"({"templateID":" BASE ","metadata":{"a":"b"},"envVars":{"X":"1"},"memoryMB":256,"cpuCount":2})");
  EXPECT_EQ(response.status, 201) << response.body;
  const auto body = Json(response).as_object();
  EXPECT_EQ(body.at("sandboxID").as_string(), "inew1");
  EXPECT_EQ(body.at("templateID").as_string(), "t1");
  EXPECT_EQ(body.at("alias").as_string(), "base");
  EXPECT_FALSE(body.at("clientID").as_string().empty());
  EXPECT_THAT(std::string(body.at("envdVersion").as_string()),
              testing::MatchesRegex("[0-9]+\\.[0-9]+\\.[0-9]+"));
  EXPECT_EQ(body.at("envdAccessToken").as_string(), "token-of-inew1");
  EXPECT_EQ(body.at("domain").as_string(), "sandboxes.test:3000");
  EXPECT_TRUE(body.at("trafficAccessToken").is_null());
  ASSERT_EQ(manager_.creates.size(), 1u);
  const auto& seen = manager_.creates[0];
  EXPECT_EQ(seen.template_id, "base");
  EXPECT_EQ(seen.timeout.count(), 300);
  EXPECT_EQ(seen.metadata.at("a"), "b");
  EXPECT_EQ(seen.env.at("X"), "1");
  EXPECT_EQ(seen.memory_mib, 256u);
  EXPECT_EQ(seen.cpus, 2u);
  EXPECT_TRUE(seen.network.allow_internet);
}

TEST_F(ApiTest, CreateTakesTheBodiesOfEveryGenerationOfClients) {
  // npm e2b 2.45, the E2B CLI, PyPI e2b 2.63, npm 2.51, with nothing but defaults.
  for (
      const auto& [target, body, timeout] : std::vector<std::tuple<std::string, std::string, int>>{
          {"/sandboxes",
           R"({"templateID":"base","timeout":300,"secure":true,"allow_internet_access":true})",
           300},
          {"/sandboxes", R"({"templateID":"base"})", 15},
          {"/sandboxes",
           R"({"templateID":"base","timeout":60,"autoPause":false,"autoResume":{"enabled":false}})",
           60},
          {"/v2/sandboxes", R"({"templateID":"base","metadata":{},"envVars":{}})", 300},
          {"/v2/sandboxes", R"({"templateID":"base"})", 300},
          {"/v2/sandboxes", R"({"templateID":"base","network":{},"mcp":{"x":{}},"iam":{}})", 300},
          {"/v2/sandboxes",
           R"({"templateID":"base","network":{"allowPublicTraffic":null,"dnsServers":["1.1.1.1"],
                "allowOut":[],"rules":{}},"volumeMounts":[],"autoPauseMemory":true})",
           300}}) {
    const auto response = Call("POST", target, body);
    EXPECT_EQ(response.status, 201) << body << response.body;
    EXPECT_EQ(manager_.creates.back().timeout.count(), timeout) << body;
    EXPECT_TRUE(manager_.creates.back().network.allow_internet);
  }
}

TEST_F(ApiTest, EveryWishThatIsNotFulfilledIsRefusedByName) {
  for (const auto& [field, body] : std::multimap<std::string, std::string>{
           {"autoPauseMemory", R"("autoPauseMemory":false)"},
           {"autoResume.enabled",
            R"("autoPause":true,"autoPauseMemory":false,"autoResume":{"enabled":true})"},
           {"autoResume.soon", R"("autoResume":{"soon":1})"},
           {"volumeMounts", R"("volumeMounts":[{"name":"v","path":"v"}])"},
           {"volumeMounts",
            R"("volumeMounts":[{"name":"v","path":"/v"},{"name":"w","path":"/v"}])"},
           {"volumeMounts",
            R"("volumeMounts":[{"name":"v","path":"/v"},{"name":"w","path":"/v/w"}])"},
           {"volumeMounts.path", R"("volumeMounts":[{"name":"v"}])"},
           {"volumeMounts.mode", R"("volumeMounts":[{"name":"v","path":"/v","mode":"ro"}])"},
           {"iam.tokens", R"("iam":{"tokens":{"t":{}}})"},
           {"network.allowOut", R"("network":{"allowOut":["http://example.com"]})"},
           {"network.denyOut", R"("network":{"denyOut":["2001:db8::/32"]})"},
           {"network.denyOut", R"("network":{"denyOut":[1]})"},
           {"network.rules", R"("network":{"rules":{"*":[]}})"},
           {"network.egressProxy.address", R"("network":{"egressProxy":{"port":1}})"},
           {"network.dnsServers", R"("network":{"dnsServers":["nonsense"]})"},
           {"network.unheardOf", R"("network":{"unheardOf":1})"},
           {"unheardOf", R"("unheardOf":{})"},
           {"timeout", R"("timeout":0)"},
           {"metadata.a", R"("metadata":{"a":1})"},
           {"metadata", R"("metadata":[])"},
           {"envVars", R"("envVars":{"A=B":"1"})"},
           {"allow_internet_access", R"("allow_internet_access":"no")"},
           {"memoryMB", R"("memoryMB":1.5)"},
           {"cpuCount", R"("cpuCount":-1)"},
           {"secure", R"("secure":1)"}}) {
    const auto response = Call("POST", "/v2/sandboxes", R"({"templateID":"base",)" + body + "}");
    ExpectError(response, 400, "'" + field + "'");
    EXPECT_EQ(Header(response, "Should-Retry"), "false");
  }
  EXPECT_TRUE(manager_.creates.empty());
}

TEST_F(ApiTest, BadTimeoutsAndTemplatesAre400) {
  for (const char* timeout : {"0", "-1", "1.5", "\"60\"", "31536001", "1e300", "true"}) {
    ExpectError(Call("POST", "/sandboxes",
                     std::string(R"({"templateID":"base","timeout":)") + timeout + "}"),
                400, "'timeout'");
  }
  for (const char* body :
       {R"({})", R"({"templateID":null})", R"({"templateID":""})", R"({"templateID":"a b"})",
        R"({"templateID":"../x"})", R"({"templateID":7})", R"({"templateID":"a:b:c"})"}) {
    ExpectError(Call("POST", "/sandboxes", body), 400, "'templateID'");
  }
  for (const char* body : {"", "[]", "{", "null", "\"x\""}) {
    ExpectError(Call("POST", "/sandboxes", body), 400, "body");
  }
  ExpectError(Call("POST", "/sandboxes",
                   R"({"templateID":"base","metadata":{"a":")" + std::string(70'000, 'x') + "\"}}"),
              400, "'metadata'");
  ExpectError(Call("POST", "/sandboxes", std::string((1 << 20) + 1, ' ')), 413);
  EXPECT_TRUE(manager_.creates.empty());
}

TEST_F(ApiTest, AnUnknownTemplateIs404InE2bsWords) {
  const auto response = Call("POST", "/v2/sandboxes", R"({"templateID":"nope"})");
  ExpectError(response, 404);
  EXPECT_EQ(Json(response).at("message").as_string(), "template 'nope' not found");
}

TEST_F(ApiTest, TheManagersErrorsKeepCauseAndRemedy) {
  manager_.fail_create =
      base::Error(Code::kResourceExhausted, "start sandbox: no slot \xff is free")
          .WithRemedy("Remove one.");
  const auto response = Call("POST", "/v2/sandboxes", R"({"templateID":"base"})");
  ExpectError(response, 429, "no slot");
  EXPECT_EQ(Json(response).at("cause").as_string(), "resource_exhausted");
  EXPECT_EQ(Json(response).at("remedy").as_string(), "Remove one.");
  EXPECT_EQ(Header(response, "Should-Retry"), "false");
}

TEST_F(ApiTest, AnIdempotencyKeyMakesOneSandbox) {
  const std::string body = R"({"templateID":"base"})";
  const auto first = Call("POST", "/v2/sandboxes", body, {{"Idempotency-Key", "k-1"}});
  const auto second = Call("POST", "/v2/sandboxes", body, {{"Idempotency-Key", "k-1"}});
  EXPECT_EQ(first.status, 201);
  EXPECT_EQ(second.status, 201);
  EXPECT_EQ(first.body, second.body);
  EXPECT_EQ(manager_.creates.size(), 1u);
  const auto other = Call("POST", "/v2/sandboxes", R"({"templateID":"base","timeout":5})",
                          {{"Idempotency-Key", "k-1"}});
  ExpectError(other, 422);
  EXPECT_EQ(Json(other).at("error_code").as_string(), "idempotency_request_mismatch");
  ExpectError(Call("POST", "/v2/sandboxes", body, {{"Idempotency-Key", "A B"}}), 400);
  // A failure is not kept: the client may mend its world and repeat.
  manager_.fail_create = base::Error(Code::kInternal, "x");
  EXPECT_EQ(Call("POST", "/v2/sandboxes", body, {{"Idempotency-Key", "k-2"}}).status, 500);
  manager_.fail_create.reset();
  EXPECT_EQ(Call("POST", "/v2/sandboxes", body, {{"Idempotency-Key", "k-2"}}).status, 201);
}

TEST_F(ApiTest, ACreateThatRunsHoldsUpNobody) {
  std::latch begun(1), may_end(1);
  manager_.in_create = [&] {
    begun.count_down();
    may_end.wait();
  };
  auto slow = std::async(std::launch::async, [&] {
    return Call("POST", "/v2/sandboxes", R"({"templateID":"base"})", {{"Idempotency-Key", "k"}});
  });
  begun.wait();
  EXPECT_EQ(Call("GET", "/v2/sandboxes").status, 200);
  const auto again =
      Call("POST", "/v2/sandboxes", R"({"templateID":"base"})", {{"Idempotency-Key", "k"}});
  EXPECT_EQ(again.status, 409);
  EXPECT_EQ(Json(again).at("error_code").as_string(), "idempotency_in_progress");
  may_end.count_down();
  EXPECT_EQ(slow.get().status, 201);
}

TEST_F(ApiTest, ACreateGoesOnWhenItsClientLeaves) {
  std::latch begun(1), may_end(1);
  manager_.in_create = [&] {
    begun.count_down();
    may_end.wait();
  };
  {
    net::HttpClient client = Client();
    ASSERT_TRUE(
        client.Start({"POST", "/v2/sandboxes", {{"X-API-KEY", key_}}, R"({"templateID":"base"})"},
                     base::Deadline::After(std::chrono::seconds(5))));
    begun.wait();
  }
  may_end.count_down();
  for (int i = 0; i < 500 && manager_.List().empty(); ++i) usleep(10'000);
  EXPECT_EQ(manager_.List().size(), 1u);
}

// --- Read

TEST_F(ApiTest, DetailHasEverythingThatPythonNeeds) {
  auto info = Running("i1");
  info.metadata = {{"k", "é"}};
  manager_.Put(info);
  const auto response = Call("GET", "/sandboxes/i1");
  EXPECT_EQ(response.status, 200);
  const auto body = Json(response).as_object();
  for (const char* name : {"templateID", "sandboxID", "clientID", "envdVersion", "startedAt",
                           "endAt", "cpuCount", "memoryMB", "diskSizeMB", "state"}) {
    EXPECT_TRUE(body.contains(name)) << name;
  }
  EXPECT_EQ(body.at("startedAt").as_string(), "2025-11-24T16:00:00.123Z");
  EXPECT_EQ(body.at("endAt").as_string(), "2025-11-24T16:05:00.123Z");
  EXPECT_EQ(body.at("state").as_string(), "running");
  EXPECT_EQ(body.at("metadata").at("k").as_string(), "é");
  EXPECT_EQ(body.at("lifecycle").at("onTimeout").as_string(), "kill");
  EXPECT_FALSE(body.contains("network"));  // null would break Python
  EXPECT_EQ(Call("GET", "/sandboxes/i1-tinderbox").status, 200);
}

TEST_F(ApiTest, IdsThatAreNoneAre400AndUnknownOnes404) {
  for (const char* bad : {"I1", "a-b-c", "a%2Fb", "-a", "a-", "%00"}) {
    ExpectError(Call("GET", std::string("/sandboxes/") + bad), 400);
  }
  for (const std::string& route : std::vector<std::string>{
           "GET /sandboxes/ix", "DELETE /sandboxes/ix", "POST /sandboxes/ix/timeout",
           "POST /sandboxes/ix/connect", "POST /v2/sandboxes/ix/connect",
           "POST /sandboxes/ix/refreshes", "GET /sandboxes/ix/logs", "POST /sandboxes/ix/resume",
           "GET /tinderbox/v1/sandboxes/ix", "GET /tinderbox/v1/sandboxes/ix/console"}) {
    const auto space = route.find(' ');
    const std::string method = route.substr(0, space);
    std::string body;
    if (method == "POST")
      body = route.ends_with("refreshes") ? R"({"duration":60})" : R"({"timeout":5})";
    if (route.ends_with("resume")) body = "{}";
    ExpectError(Call(method, route.substr(space + 1), body), 404, "ix");
  }
}

TEST_F(ApiTest, DeadOnesAreShownBelowOurOwnRoutesOnly) {
  auto dead = Running("i1");
  dead.state = State::kDead;
  dead.cause = "its VMM was killed";
  dead.exit_code = 137;
  manager_.Put(dead);
  ExpectError(Call("GET", "/sandboxes/i1"), 404, "dead");
  ExpectError(Call("POST", "/sandboxes/i1/timeout", R"({"timeout":5})"), 404);
  EXPECT_EQ(Json(Call("GET", "/v2/sandboxes")).as_array().size(), 0u);
  EXPECT_EQ(Json(Call("GET", "/tinderbox/v1/sandboxes")).as_array().size(), 1u);
  const auto body = Json(Call("GET", "/tinderbox/v1/sandboxes/i1")).as_object();
  EXPECT_EQ(body.at("state").as_string(), "dead");
  EXPECT_EQ(body.at("cause").as_string(), "its VMM was killed");
  EXPECT_EQ(body.at("exitCode").as_int64(), 137);
  EXPECT_EQ(body.at("runDir").as_string(), "/run/i1");
  EXPECT_FALSE(body.contains("envdAccessToken"));
  EXPECT_EQ(Call("DELETE", "/sandboxes/i1").status, 204);
  EXPECT_EQ(Json(Call("GET", "/tinderbox/v1/sandboxes")).as_array().size(), 0u);
}

TEST_F(ApiTest, ListsPageThroughAllOfThemInOneOrder) {
  for (int i = 0; i < 25; ++i) {
    // Pairs start in the same millisecond: then the id decides.
    auto info = Running("i" + std::string(1, static_cast<char>('a' + i)), 1764000000000 + i / 2);
    if (i % 3 == 0) info.state = State::kPaused;
    info.metadata = {{"parity", i % 2 == 0 ? "even" : "odd"}};
    manager_.Put(info);
  }
  const auto walk = [this](const std::string& query) {
    std::vector<std::string> ids;
    std::string token;
    do {
      std::string target = "/v2/sandboxes?limit=4" + query;
      if (!token.empty()) target += "&nextToken=" + token;
      const auto response = Call("GET", target);
      EXPECT_EQ(response.status, 200) << response.body;
      EXPECT_EQ(Header(response, "X-Total-Running"), "16");
      for (const auto& entry : Json(response).as_array()) {
        ids.emplace_back(entry.at("sandboxID").as_string());
      }
      token = Header(response, "X-Next-Token");
    } while (!token.empty() && ids.size() < 100);
    return ids;
  };
  const auto newest_first = walk("");
  ASSERT_EQ(newest_first.size(), 25u);
  EXPECT_EQ(newest_first[0], "iy");
  EXPECT_EQ(newest_first[1], "iw");  // iw and ix started together
  EXPECT_EQ(newest_first[2], "ix");
  auto reverse = walk("&order=asc");
  std::ranges::reverse(reverse);
  EXPECT_EQ(reverse, newest_first);
  EXPECT_EQ(walk("&state=paused").size(), 9u);
  EXPECT_EQ(walk("&state=running").size(), 16u);
  EXPECT_EQ(walk("&state=running%2Cpaused").size(), 25u);
  EXPECT_EQ(walk("&metadata=parity%3Dodd").size(), 12u);
  EXPECT_EQ(walk("&template=base").size(), 25u);
  EXPECT_EQ(walk("&template=other").size(), 0u);
  EXPECT_EQ(walk("&startedAfter=2025-11-24T16:00:00.012Z").size(), 1u);
  EXPECT_EQ(walk("&startedAfter=2025-11-24T17:00:00.012%2B01:00").size(), 1u);
  EXPECT_EQ(Json(Call("GET", "/sandboxes")).as_array().size(), 16u);
}

TEST_F(ApiTest, MetadataFiltersAreDecodedAsE2bsClientsEncodeThem) {
  auto info = Running("i1");
  info.metadata = {{"a b", "c&d=é"}, {"x", "y"}};
  manager_.Put(info);
  const auto count = [this](const std::string& filter) {
    return Json(Call("GET", "/v2/sandboxes?metadata=" + filter)).as_array().size();
  };
  EXPECT_EQ(count("a%252520b%3Dc%252526d%25253D%2525C3%2525A9"), 1u);
  EXPECT_EQ(count("x%3Dy%26a%252520b%3Dc%252526d%25253D%2525C3%2525A9"), 1u);
  EXPECT_EQ(count("x%3Dz"), 0u);
  ExpectError(Call("GET", "/v2/sandboxes?metadata=x"), 400, "'metadata'");
}

TEST_F(ApiTest, BadListQueriesAre400) {
  for (const char* query : {"limit=0", "limit=101", "limit=x", "order=up", "state=dead",
                            "startedAfter=yesterday", "nextToken=zz", "template=base:tag"}) {
    ExpectError(Call("GET", std::string("/v2/sandboxes?") + query), 400, "query parameter");
  }
}

// --- Change

TEST_F(ApiTest, TimeoutsAreSetAndExtended) {
  manager_.Put(Running("i1"));
  EXPECT_EQ(Call("POST", "/sandboxes/i1/timeout", R"({"timeout":0})").status, 204);
  EXPECT_EQ(Call("POST", "/sandboxes/i1/timeout", R"({"timeout":77})").status, 204);
  EXPECT_EQ(Call("POST", "/sandboxes/i1/refreshes", R"({"duration":3})").status, 204);
  EXPECT_EQ(Call("POST", "/sandboxes/i1/refreshes", R"({"duration":60})").status, 204);
  const auto connected = Call("POST", "/sandboxes/i1/connect", R"({"timeout":300})");
  EXPECT_EQ(connected.status, 200);
  EXPECT_EQ(Json(connected).at("envdAccessToken").as_string(), "token-of-i1");
  EXPECT_EQ(Call("POST", "/v2/sandboxes/i1/connect", "{}").status, 200);
  EXPECT_EQ(Call("POST", "/v2/sandboxes/i1/connect").status, 200);
  EXPECT_EQ(Call("POST", "/v2/sandboxes/i1/connect", R"({"memory":false})").status, 200);
  const std::vector<std::pair<std::string, std::int64_t>> expected = {
      {"set:i1", 0},      {"set:i1", 77},     {"extend:i1", 15},  {"extend:i1", 60},
      {"extend:i1", 300}, {"extend:i1", 300}, {"extend:i1", 300}, {"extend:i1", 300}};
  EXPECT_EQ(manager_.timeouts, expected);
  ExpectError(Call("POST", "/sandboxes/i1/timeout", "{}"), 400, "'timeout'");
  ExpectError(Call("POST", "/sandboxes/i1/timeout", R"({"timeout":-1})"), 400, "'timeout'");
  ExpectError(Call("POST", "/sandboxes/i1/connect", "{}"), 400, "'timeout'");
  ExpectError(Call("POST", "/sandboxes/i1/refreshes", R"({"duration":3601})"), 400, "'duration'");
  ExpectError(Call("POST", "/sandboxes/i1/resume", R"({"timeout":15})"), 409);
  auto pausing = Running("i2");
  pausing.state = State::kPausing;
  manager_.Put(pausing);
  ExpectError(Call("POST", "/sandboxes/i2/timeout", R"({"timeout":5})"), 409);
}

TEST_F(ApiTest, KillAnswers204AndThen404) {
  manager_.Put(Running("i1"));
  const auto killed = Call("DELETE", "/sandboxes/i1");
  EXPECT_EQ(killed.status, 204);
  EXPECT_EQ(killed.body, "");
  ExpectError(Call("DELETE", "/sandboxes/i1"), 404);
}

// --- The rest

TEST_F(ApiTest, LogsAreJsonLinesThatTheE2bCliCanRead) {
  manager_.Put(Running("i1"));
  const auto body = Json(Call("GET", "/sandboxes/i1/logs")).as_object();
  const auto& logs = body.at("logs").as_array();
  ASSERT_EQ(logs.size(), 4u);
  EXPECT_EQ(logs[0].at("timestamp").as_string(), "2025-11-24T16:00:00.123Z");
  const auto made = boost::json::parse(logs[0].at("line").as_string());
  EXPECT_EQ(made.at("logger").as_string(), "sandbox");
  EXPECT_TRUE(made.at("message").as_string().starts_with("sandbox i1 created: from template "));
  const auto line = boost::json::parse(logs[2].at("line").as_string());
  EXPECT_EQ(line.at("level").as_string(), "info");
  EXPECT_EQ(line.at("message").as_string(), "?[0msecond \xef\xbf\xbd line");
  EXPECT_EQ(body.at("logEntries").as_array().size(), 4u);
  EXPECT_EQ(
      Json(Call("GET", "/sandboxes/i1/logs?start=1764000000126")).at("logs").as_array().size(), 1u);
  EXPECT_EQ(Json(Call("GET", "/sandboxes/i1/logs?limit=2")).at("logs").as_array().size(), 2u);
  ExpectError(Call("GET", "/sandboxes/i1/logs?start=x"), 400);
}

TEST_F(ApiTest, TheConsoleIsGivenRaw) {
  manager_.Put(Running("i1"));
  const auto response = Call("GET", "/tinderbox/v1/sandboxes/i1/console?bytes=4");
  EXPECT_EQ(response.body, "last");
  EXPECT_THAT(Header(response, "Content-Type"), HasSubstr("text/plain"));
  ExpectError(Call("GET", "/tinderbox/v1/sandboxes/i1/console?bytes=x"), 400);
}

TEST_F(ApiTest, InfoAndDoctorTell) {
  manager_.Put(Running("i1"));
  const auto info = Json(Call("GET", "/tinderbox/v1/info")).as_object();
  EXPECT_EQ(info.at("sandboxes").at("running").as_int64(), 1);
  EXPECT_EQ(info.at("recovery").as_array().size(), 1u);
  const auto doctor = Json(Call("GET", "/tinderbox/v1/doctor")).as_object();
  EXPECT_FALSE(doctor.at("ok").as_bool());
  EXPECT_EQ(doctor.at("checks").as_array()[1].at("remedy").as_string(), "Buy a better host.");
}

TEST_F(ApiTest, WhatIsKnownButNotServedIs501) {
  manager_.Put(Running("i1"));
  for (const char* route :
       {"POST /v3/templates", "POST /templates/tags", "DELETE /templates/tags",
        "PATCH /v2/templates/x", "PATCH /templates/x", "GET /default-templates",
        "GET /templates/base/tags/count", "GET /templates/base/tags/exists",
        "GET /templates/base/tags/groups", "GET /templates/base/tags/v1/assignments",
        "GET /templates/x/builds/y/logs", "GET /templates/x/builds/y/status",
        "POST /v2/templates/x/builds/y", "GET /templates/x/files/y", "GET /teams",
        "GET /teams/x/metrics", "GET /teams/x/metrics/max"}) {
    const std::string text(route);
    const auto space = text.find(' ');
    const auto response = Call(text.substr(0, space), text.substr(space + 1), "{}");
    ExpectError(response, 501, "not support " + text);
    ExpectError(CallWithoutKey(text.substr(0, space), text.substr(space + 1)), 401);
    EXPECT_EQ(Header(response, "Should-Retry"), "false");
  }
}

TEST_F(ApiTest, UnknownRoutesAre404AndUnknownMethods405) {
  ExpectError(Call("GET", "/nonsense"), 404, "no such route");
  const auto response = Call("PATCH", "/v2/sandboxes");
  ExpectError(response, 405);
  EXPECT_THAT(Header(response, "Allow"), HasSubstr("POST"));
}

TEST_F(ApiTest, LostDataIsListedTakenUpAndRemoved) {
  EXPECT_THAT(Call("GET", "/tinderbox/v1/lost").body, HasSubstr("volume-v1"));
  const auto adopted = Call("POST", "/tinderbox/v1/lost/volume-v1/adopt", R"({"name":"data"})");
  EXPECT_EQ(adopted.status, 200);
  EXPECT_THAT(adopted.body, HasSubstr(R"("label":"data")"));
  ExpectError(Call("POST", "/tinderbox/v1/lost/volume-v1/adopt"), 404);
  ExpectError(Call("POST", "/tinderbox/v1/lost/sandbox-i1/adopt", R"({"nam":"x"})"), 400);
  EXPECT_EQ(Call("DELETE", "/tinderbox/v1/lost/sandbox-i1").status, 204);
  ExpectError(Call("DELETE", "/tinderbox/v1/lost/sandbox-i1"), 404);
  EXPECT_EQ(CallWithoutKey("GET", "/tinderbox/v1/lost").status, 401);
}

TEST_F(ApiTest, TheServedDescriptionNamesEveryRoute) {
  const auto response = Call("GET", "/tinderbox/v1/openapi.yaml");
  EXPECT_EQ(response.status, 200);
  for (auto* routes : {SandboxRoutes, LifecycleRoutes, LogRoutes, EventRoutes, MetricRoutes,
                       TemplateRoutes, SecretRoutes, VolumeRoutes, HostRoutes, RecoverRoutes}) {
    for (const Route& route : routes()) {
      std::string path(route.pattern);
      if (const auto at = path.find("{id}"); at != path.npos) {
        path.replace(at, 4, path.starts_with("/volumes/") ? "{volumeID}" : "{sandboxID}");
      }
      EXPECT_THAT(response.body, HasSubstr("\n  " + path + ":\n")) << route.method;
    }
  }
}

class CrowdedApiTest : public ApiTest {
 protected:
  ServerOptions Options() override { return {.slow_threads = 1, .waiting = 1}; }
};

TEST_F(CrowdedApiTest, WhatCannotWaitIs503) {
  std::latch begun(1), may_end(1);
  std::atomic<bool> first = true;
  manager_.in_create = [&] {
    if (first.exchange(false)) begun.count_down();
    may_end.wait();
  };
  std::vector<std::future<int>> calls;
  const auto create = [this] {
    return Call("POST", "/v2/sandboxes", R"({"templateID":"base"})").status;
  };
  calls.push_back(std::async(std::launch::async, create));
  begun.wait();
  calls.push_back(std::async(std::launch::async, create));
  usleep(200'000);  // it waits now; nothing tells when
  EXPECT_EQ(create(), 503);
  may_end.count_down();
  for (auto& call : calls) EXPECT_EQ(call.get(), 201);
}

}  // namespace
}  // namespace tinderbox::api
