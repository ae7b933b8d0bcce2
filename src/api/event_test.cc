// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// What happened to sandboxes: as E2B's events, and among the lines of their logs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/api_test_fixture.h"
#include "api/event_json.h"

namespace tinderbox::api {
namespace {

using sandbox::Event;
using sandbox::EventKind;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::int64_t kStart = 1764000000123;  // as of Running()

TEST(EventJson, HasE2bsShape) {
  Event event = EventAt(kStart, EventKind::kPaused);
  event.metadata = {{"owner", "me"}};
  event.detail = "memory and disk are kept";
  event.execution = {{.started_at_ms = kStart - 2500, .ran_ms = 2500, .cpus = 2, .memory_mib = 64}};
  const auto json = EventJson(event);
  EXPECT_EQ(json.at("version").as_string(), "v2");
  EXPECT_EQ(json.at("type").as_string(), "sandbox.lifecycle.paused");
  EXPECT_EQ(json.at("sandboxId").as_string(), "i1");
  EXPECT_EQ(json.at("sandboxExecutionId").as_string(), "life-1");
  EXPECT_EQ(json.at("sandboxTemplateId").as_string(), "t1");
  EXPECT_EQ(json.at("sandboxBuildId").as_string().size(), 36u);
  EXPECT_EQ(json.at("sandboxTeamId").as_string().size(), 36u);
  EXPECT_EQ(json.at("timestamp").as_string(), "2025-11-24T16:00:00.123Z");
  const auto& data = json.at("eventData").as_object();
  EXPECT_EQ(data.at("sandbox_metadata").at("owner").as_string(), "me");
  EXPECT_EQ(data.at("detail").as_string(), "memory and disk are kept");
  const auto& life = data.at("execution").as_object();
  EXPECT_EQ(life.at("started_at").as_string(), "2025-11-24T15:59:57.623Z");
  EXPECT_EQ(life.at("execution_time").as_int64(), 2500) << "milliseconds";
  EXPECT_EQ(life.at("vcpu_count"), 2);
  EXPECT_EQ(life.at("memory_mb"), 64);
}

TEST(EventJson, WhereThereIsNothingToSayItsDataIsNull) {
  EXPECT_TRUE(EventJson(EventAt(1, EventKind::kCreated)).at("eventData").is_null());
}

TEST(EventJson, AnEndThatWasSetIsTold) {
  Event event = EventAt(kStart, EventKind::kUpdated);
  event.end_at_ms = kStart + 60'000;
  EXPECT_EQ(EventJson(event).at("eventData").at("set_timeout").as_string(),
            "2025-11-24T16:01:00.123Z");
  EXPECT_EQ(EventWords(event), "sandbox i1 updated: its time is over at 2025-11-24T16:01:00.123Z");
  event.end_at_ms = 0;
  EXPECT_TRUE(EventJson(event).at("eventData").at("set_timeout").is_null());
  EXPECT_EQ(EventWords(event), "sandbox i1 updated: its time has no end");
}

TEST_F(ApiTest, EventsAreFilteredPagedAndOrdered) {
  manager_.events = {EventAt(1, EventKind::kCreated), EventAt(2, EventKind::kKilled)};
  manager_.events.back().sandbox_id = "i2";
  const auto all = Json(Call("GET", "/events/sandboxes")).as_array();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].at("type").as_string(), "sandbox.lifecycle.killed") << "the newest first";
  const auto one = Json(Call("GET",
                             "/events/sandboxes/i1?offset=3&limit=100&orderAsc=true&types=sandbox."
                             "lifecycle.created&types=sandbox.lifecycle.checkpointed"))
                       .as_array();
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].at("sandboxId").as_string(), "i1");
  ASSERT_EQ(manager_.event_requests.size(), 2u);
  EXPECT_EQ(manager_.event_requests[0].limit, 10u);
  const sandbox::EventRequest& asked = manager_.event_requests[1];
  EXPECT_EQ(asked.offset, 3u);
  EXPECT_EQ(asked.limit, 100u);
  EXPECT_TRUE(asked.ascending);
  EXPECT_THAT(asked.kinds, ElementsAre(EventKind::kCreated, EventKind::kCheckpointed));
}

TEST_F(ApiTest, ASandboxWithoutEventsHasNoneAndAWrongQueryIsNamed) {
  EXPECT_EQ(Call("GET", "/events/sandboxes/inone").body, "[]");
  ExpectError(Call("GET", "/events/sandboxes/NONE"), 400);
  for (const std::string name :
       {"limit=0", "limit=101", "limit=x", "offset=-1", "orderAsc=1", "types=created", "types="}) {
    ExpectError(Call("GET", "/events/sandboxes?" + name), 400, name.substr(0, name.find('=')));
    ExpectError(Call("GET", "/events/sandboxes/i1?" + name), 400);
  }
}

TEST_F(ApiTest, WebhooksAreRefusedInSoManyWords) {
  ExpectError(Call("POST", "/events/webhooks", "{}"), 501, "/events/webhooks");
  ExpectError(Call("DELETE", "/events/webhooks/x"), 501);
}

class LogTest : public ApiTest {
 protected:
  // message by message
  std::vector<std::string> Messages(const std::string& query = {}) {
    std::vector<std::string> messages;
    const auto body = Json(Call("GET", "/v2/sandboxes/i1/logs" + query));
    for (const auto& entry : body.at("logs").as_array()) {
      messages.emplace_back(entry.at("message").as_string());
    }
    return messages;
  }
};

// The fake's console has three lines, the last one unfinished.
TEST_F(LogTest, TheConsoleStandsInItsPlaceAmongTheEvents) {
  manager_.Put(Running("i1"));
  manager_.events = {EventAt(kStart, EventKind::kCreated), EventAt(kStart + 9, EventKind::kPaused),
                     EventAt(kStart + 20, EventKind::kResumed),
                     EventAt(kStart + 20, EventKind::kUpdated)};
  manager_.events[0].console_lines = manager_.events[1].console_lines = 7;
  manager_.events[2].execution_id = manager_.events[3].execution_id = "life-2";
  manager_.events[3].console_lines = 2;
  EXPECT_THAT(Messages(),
              ElementsAre("sandbox i1 created", "sandbox i1 paused", "sandbox i1 resumed",
                          "first line", HasSubstr("second"), "sandbox i1 updated", "last"));
  const auto logs = Json(Call("GET", "/v2/sandboxes/i1/logs")).at("logs").as_array();
  std::string before;
  for (const auto& entry : logs) {
    const std::string at(entry.at("timestamp").as_string());
    EXPECT_LT(before, at) << "each has a time of its own, so that none is missed or comes twice";
    before = at;
  }
  EXPECT_THAT(Messages("?cursor=" + std::to_string(kStart + 23)),
              ElementsAre("sandbox i1 updated", "last"));
}

TEST_F(LogTest, ALifeBeginsBeforeTheWordsOfItsBoot) {
  manager_.Put(Running("i1"));
  manager_.events = {EventAt(kStart, EventKind::kCreated)};
  manager_.events[0].console_lines = 2;
  EXPECT_THAT(Messages(),
              ElementsAre("sandbox i1 created", "first line", HasSubstr("second"), "last"));
}

TEST_F(LogTest, OneWhoseCreationIsForgottenStillSaysWhatItIs) {
  manager_.Put(Running("i1"));
  manager_.events = {EventAt(kStart + 9, EventKind::kUpdated)};
  EXPECT_THAT(Messages(), ElementsAre(HasSubstr("created: from template"), "sandbox i1 updated",
                                      "first line", HasSubstr("second"), "last"));
}

}  // namespace
}  // namespace tinderbox::api
