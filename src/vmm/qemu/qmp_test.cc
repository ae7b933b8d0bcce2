// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/qemu/qmp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <chrono>
#include <string>
#include <thread>

namespace tinderbox::vmm::qemu {
namespace {

using base::Code;
using Kind = QmpMessage::Kind;
using std::chrono::milliseconds;
using ::testing::HasSubstr;

base::Deadline Soon() { return base::Deadline::After(std::chrono::seconds(5)); }

TEST(ParseQmp, EveryKind) {
  EXPECT_EQ(ParseQmp(R"({"QMP": {"version": {"qemu": {"micro": 22}}}})")->kind, Kind::kGreeting);
  EXPECT_EQ(ParseQmp(R"({"timestamp": {"seconds": 1}, "event": "STOP"})").value(),
            (QmpMessage{.kind = Kind::kEvent, .id = 0, .text = "STOP"}));
  EXPECT_EQ(ParseQmp(R"({"return": {}, "id": 7})").value(),
            (QmpMessage{.kind = Kind::kReturn, .id = 7, .text = "{}"}));
  EXPECT_EQ(ParseQmp(R"({"id": 8, "error": {"class": "GenericError", "desc": "no\nway"}})").value(),
            (QmpMessage{.kind = Kind::kError, .id = 8, .text = "no way"}));
}

TEST(ParseQmp, GarbageIsDataLoss) {
  for (const std::string& line :
       {std::string(), std::string("{"), std::string("[]"), std::string("{}"), std::string("null"),
        std::string("\0\xff", 2), std::string(R"({"error": "text"})"),
        std::string(R"({"returns": 1})"), std::string(200, '{'), std::string(60000, '[')}) {
    const auto message = ParseQmp(line);
    ASSERT_FALSE(message) << line;
    EXPECT_EQ(message.error().code(), Code::kDataLoss);
    EXPECT_LT(message.error().message().size(), 600U);
  }
}

TEST(ParseQmp, IdsThatAreNoNumbersAreNoIds) {
  for (const char* id : {"\"1\"", "-1", "1.5", "1e99", "{}", "null"})
    EXPECT_EQ(ParseQmp(std::string(R"({"return": {}, "id": )") + id + "}")->id, 0U) << id;
}

TEST(ParseStatus, States) {
  EXPECT_EQ(ParseStatus(R"({"status": "running", "running": true})").value(), VmState::kRunning);
  EXPECT_EQ(ParseStatus(R"({"status": "paused"})").value(), VmState::kPaused);
  EXPECT_EQ(ParseStatus(R"({"status": "io-error"})").value(), VmState::kPaused);
  EXPECT_EQ(ParseStatus(R"({"status": "prelaunch"})").value(), VmState::kNotStarted);
  EXPECT_EQ(ParseStatus(R"({"status": "shutdown"})").value(), VmState::kEnded);
  for (const char* bad : {"", "[]", "{}", R"({"status": 5})", R"({"status": ""})"})
    EXPECT_FALSE(ParseStatus(bad)) << bad;
}

// The other side of a connection, that says what a test tells it to.
class QmpTest : public testing::Test {
 protected:
  void SetUp() override {
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    ours_ = sys::UniqueFd(fds[0]);
    theirs_ = sys::UniqueFd(fds[1]);
  }
  void Say(const std::string& text) {
    ASSERT_EQ(::send(theirs_.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
  }
  static constexpr char kGreeting[] = "{\"QMP\": {\"version\": {}}}\r\n";
  static std::string Return(int id, const std::string& value = "{}") {
    return "{\"return\": " + value + ", \"id\": " + std::to_string(id) + "}\r\n";
  }
  base::Result<Qmp> Open() { return Qmp::Open(std::move(ours_), Soon()); }

  sys::UniqueFd ours_, theirs_;
};

TEST_F(QmpTest, SkipsEventsBetweenQuestionAndAnswer) {
  Say(std::string(kGreeting) + Return(1));
  auto qmp = Open();
  ASSERT_TRUE(qmp) << qmp.error().ToString();
  Say("{\"event\": \"RESUME\"}\r\n{\"event\": \"STOP\"}\r\n" + Return(2));
  EXPECT_TRUE(qmp->Run("stop", Soon()));
  Say(Return(3, R"({"status": "paused"})"));
  EXPECT_EQ(qmp->State(Soon()).value(), VmState::kPaused);

  char sent[512] = {};
  ASSERT_GT(::recv(theirs_.get(), sent, sizeof sent - 1, 0), 0);
  EXPECT_STREQ(sent,
               "{\"execute\":\"qmp_capabilities\",\"id\":1}\n{\"execute\":\"stop\",\"id\":2}\n"
               "{\"execute\":\"query-status\",\"id\":3}\n");
}

TEST_F(QmpTest, TakesAnswersInPieces) {
  std::jthread peer([this] {
    for (const char c : std::string(kGreeting) + Return(1)) {
      Say({c});
      std::this_thread::sleep_for(milliseconds(1));
    }
  });
  const auto qmp = Open();
  EXPECT_TRUE(qmp) << qmp.error().ToString();
}

TEST_F(QmpTest, RefusalCarriesQemusWordsAndTheConnectionGoesOn) {
  Say(std::string(kGreeting) + Return(1));
  auto qmp = Open();
  ASSERT_TRUE(qmp);
  Say("{\"id\": 2, \"error\": {\"class\": \"GenericError\", \"desc\": \"not now\"}}\r\n");
  const auto refused = qmp->Run("cont", Soon());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Code::kFailedPrecondition);
  EXPECT_THAT(refused.error().message(), HasSubstr("not now"));
  Say(Return(3));
  EXPECT_TRUE(qmp->Run("cont", Soon()));
}

TEST_F(QmpTest, AnswerToAnotherQuestionIsDataLoss) {
  Say(std::string(kGreeting) + Return(5));
  EXPECT_EQ(Open().error().code(), Code::kDataLoss);
}

TEST_F(QmpTest, NoGreetingIsDataLoss) {
  Say(Return(1));
  EXPECT_EQ(Open().error().code(), Code::kDataLoss);
}

TEST_F(QmpTest, SilenceEndsAtTheDeadline) {
  const auto begin = std::chrono::steady_clock::now();
  const auto qmp = Qmp::Open(std::move(ours_), base::Deadline::After(milliseconds(50)));
  EXPECT_EQ(qmp.error().code(), Code::kDeadlineExceeded);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2));
}

TEST_F(QmpTest, ClosedConnectionIsUnavailable) {
  Say(kGreeting);
  theirs_.Reset();
  const auto qmp = Open();
  EXPECT_EQ(qmp.error().code(), Code::kUnavailable);
}

TEST_F(QmpTest, EndlessLineIsRefused) {
  std::jthread peer([this] {
    const std::string piece(4096, 'x');
    while (::send(theirs_.get(), piece.data(), piece.size(), MSG_NOSIGNAL) > 0) {
    }
  });
  EXPECT_EQ(Open().error().code(), Code::kResourceExhausted);
  ours_.Reset();
}

TEST_F(QmpTest, EndlessEventsAreRefused) {
  std::jthread peer([this] {
    std::string text = kGreeting;
    const std::string event = "{\"event\": \"NOISE\"}\r\n";
    for (int i = 0; i < 100; ++i) text += event;
    while (::send(theirs_.get(), text.data(), text.size(), MSG_NOSIGNAL) > 0) text = event;
  });
  EXPECT_EQ(Open().error().code(), Code::kResourceExhausted);
}

}  // namespace
}  // namespace tinderbox::vmm::qemu
