// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/metrics.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/api_test_fixture.h"
#include "api/proxy_test_guest.h"

namespace tinderbox::api {
namespace {

using sandbox::State;

constexpr char kGood[] =
    R"({"ts":1,"cpu_count":2,"cpu_used_pct":12.5,"mem_total":1024,"mem_used":512,"mem_cache":100,)"
    R"("mem_total_mib":1,"disk_used":7,"disk_total":9})";

TEST(Metrics, WhatAGuestSaysIsTakenOnlyWhereItAddsUp) {
  const auto sample = ParseAgentMetrics(kGood, 77);
  ASSERT_TRUE(sample);
  EXPECT_EQ(sample->at_ms, 77);
  EXPECT_EQ(sample->cpus, 2);
  EXPECT_EQ(sample->cpu_used_pct, 12.5);
  EXPECT_EQ(sample->memory_used, 512u);
  EXPECT_EQ(sample->disk_total, 9u);
  for (
      const char* bad :
      {"", "[]", "{}", R"({"cpu_count":2})",
       R"({"cpu_count":-1,"cpu_used_pct":1,"mem_total":1,"mem_used":1,"mem_cache":1,"disk_used":1,"disk_total":1})",
       R"({"cpu_count":1,"cpu_used_pct":"1","mem_total":1,"mem_used":1,"mem_cache":1,"disk_used":1,"disk_total":1})",
       R"({"cpu_count":1,"cpu_used_pct":1,"mem_total":1e300,"mem_used":1,"mem_cache":1,"disk_used":1,"disk_total":1})"}) {
    EXPECT_FALSE(ParseAgentMetrics(bad, 1)) << bad;
  }
}

class MetricsTest : public ApiTest {
 protected:
  MetricsTest()
      : guest_([this](RawSocket& socket) {
          asked_ = socket.ReadUntil("\r\n\r\n");
          const std::string body = body_;
          socket.Send(
              fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", body.size(), body));
        }) {
    manager_.ports[kAgentPort] = guest_.port();
  }
  ServerOptions Options() override {
    return {.metrics = {.period = std::chrono::milliseconds(20), .kept = 5}};
  }

  std::string body_ = kGood;
  std::string asked_;
  RawGuest guest_;
};

TEST_F(MetricsTest, ASampleComesAtOnceAndMoreFollow) {
  manager_.Put(Running("i1"));
  const auto first = Json(Call("GET", "/sandboxes/i1/metrics")).as_array();
  ASSERT_EQ(first.size(), 1u);
  for (const char* name : {"timestamp", "timestampUnix", "cpuCount", "cpuUsedPct", "memUsed",
                           "memTotal", "memCache", "diskUsed", "diskTotal"}) {
    EXPECT_TRUE(first[0].as_object().contains(name)) << name;
  }
  EXPECT_THAT(asked_, testing::HasSubstr("token-of-i1"));
  std::size_t count = 0;
  for (int i = 0; i < 500 && guest_.connections() < 10; ++i) usleep(10'000);
  count = Json(Call("GET", "/sandboxes/i1/metrics")).as_array().size();
  EXPECT_EQ(count, 5u);  // no more are kept
  EXPECT_EQ(Json(Call("GET", "/sandboxes/i1/metrics?end=1000")).as_array().size(), 0u);
  EXPECT_EQ(Json(Call("GET", "/sandboxes/i1/metrics?start=4000000000")).as_array().size(), 0u);
  ExpectError(Call("GET", "/sandboxes/i1/metrics?start=x"), 400, "'start'");
  ExpectError(Call("GET", "/sandboxes/ix/metrics"), 404);
  const auto latest = Json(Call("GET", "/sandboxes/metrics?sandbox_ids=i1,ix"));
  EXPECT_EQ(latest.at("sandboxes").as_object().size(), 1u);
  ExpectError(Call("GET", "/sandboxes/metrics"), 400, "'sandbox_ids'");
}

TEST_F(MetricsTest, APausedOneIsNeverAsked) {
  auto info = Running("i1");
  info.state = State::kPaused;
  manager_.Put(info);
  EXPECT_EQ(Json(Call("GET", "/sandboxes/i1/metrics")).as_array().size(), 0u);
  usleep(100'000);  // some rounds
  EXPECT_EQ(manager_.dials, 0);
}

TEST_F(MetricsTest, AnAgentThatTalksNonsenseIsNotQuoted) {
  body_ = R"({"cpu_count":"many"})";
  manager_.Put(Running("i1"));
  const auto response = Call("GET", "/sandboxes/i1/metrics");
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.body, "[]");
}

// Agents that answer as `serve` does, of as many sandboxes as are put there.
class ManyMetricsTest : public ApiTest {
 protected:
  ManyMetricsTest() : guest_([this](RawSocket& socket) { Serve(socket); }) {
    manager_.ports[kAgentPort] = guest_.port();
  }
  virtual void Serve(RawSocket& socket) = 0;
  std::string Put(int count) {
    std::string ids;
    for (int i = 0; i < count; ++i) {
      manager_.Put(Running(fmt::format("i{}", i)));
      ids += fmt::format("{}i{}", i == 0 ? "" : ",", i);
    }
    return ids;
  }

  RawGuest guest_;
};

class TogetherMetricsTest : public ManyMetricsTest {
  // Nobody is answered before several are asked.
  void Serve(RawSocket& socket) override {
    socket.ReadUntil("\r\n\r\n");
    for (int i = 0; i < 150 && guest_.connections() < 4; ++i) usleep(10'000);
    const bool many = guest_.connections() >= 4;
    const std::string_view body = many ? kGood : "";
    socket.Send(fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", body.size(), body));
  }
};

TEST_F(TogetherMetricsTest, AgentsAreAskedBesideEachOther) {
  const std::string ids = Put(6);
  const auto all = Json(Call("GET", "/sandboxes/metrics?sandbox_ids=" + ids));
  EXPECT_EQ(all.at("sandboxes").as_object().size(), 6u);
}

class SilentMetricsTest : public ManyMetricsTest {
  void Serve(RawSocket& socket) override { socket.ReadToEnd(); }
};

TEST_F(SilentMetricsTest, ThoseThatNeverAnswerCostOneTimeAndNotOneEach) {
  const std::string ids = Put(40);
  const auto begun = std::chrono::steady_clock::now();
  const auto all = Json(Call("GET", "/sandboxes/metrics?sandbox_ids=" + ids));
  EXPECT_TRUE(all.at("sandboxes").as_object().empty());
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 3 * MetricSampler::kSampleTime);
  EXPECT_LE(guest_.connections(), 40);
}

}  // namespace
}  // namespace tinderbox::api
