// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/qemu/io_events.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <string>
#include <utility>

#include "vmm/qemu/qmp.h"

namespace tinderbox::vmm::qemu {
namespace {

using base::Code;

constexpr char kGreeting[] = "{\"QMP\": {\"version\": {}}}\r\n";
constexpr char kStop[] = "{\"timestamp\": {\"seconds\": 1}, \"event\": \"STOP\"}\r\n";
constexpr char kAsk[] = "{\"execute\":\"query-status\",\"id\":2}\n";

class IoEventsTest : public testing::Test {
 protected:
  void SetUp() override {
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    events_ = std::make_unique<QemuIoEvents>(sys::UniqueFd(fds[0]));
    qemu_ = sys::UniqueFd(fds[1]);
  }
  base::Result<> Say(const std::string& text) {
    EXPECT_EQ(::send(qemu_.get(), text.data(), text.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(text.size()));
    return events_->Read();
  }
  std::string Heard() {
    char sent[4096];
    const ssize_t n = ::recv(qemu_.get(), sent, sizeof sent, MSG_DONTWAIT);
    return n > 0 ? std::string(sent, static_cast<std::size_t>(n)) : "";
  }
  base::Result<> SayStatus(const std::string& status) {
    return Say(R"({"return": {"running": false, "status": ")" + status + "\"}, \"id\": 2}\r\n");
  }
  // A greeted connection to a guest that runs.
  void Begin() {
    ASSERT_TRUE(Say(kGreeting));
    EXPECT_EQ(Heard(), "{\"execute\":\"qmp_capabilities\",\"id\":1}\n");
    ASSERT_TRUE(Say("{\"return\": {}, \"id\": 1}\r\n"));
    EXPECT_EQ(Heard(), kAsk);
    ASSERT_TRUE(SayStatus("running"));
  }

  std::unique_ptr<QemuIoEvents> events_;
  sys::UniqueFd qemu_;
};

TEST_F(IoEventsTest, StopForWantOfSpaceAndContinue) {
  Begin();
  EXPECT_FALSE(events_->no_room());
  ASSERT_TRUE(Say("{\"event\": \"BLOCK_IO_ERROR\", \"data\": {\"nospace\": true}}\r\n"));
  EXPECT_EQ(Heard(), kAsk);
  ASSERT_TRUE(Say(kStop));
  EXPECT_EQ(Heard(), "") << "one question at a time";
  // The answer to the first question may be older than the event that followed it.
  ASSERT_TRUE(SayStatus("running"));
  EXPECT_FALSE(events_->no_room());
  EXPECT_EQ(Heard(), kAsk);
  ASSERT_TRUE(SayStatus("io-error"));
  EXPECT_TRUE(events_->no_room());
  ASSERT_TRUE(events_->Continue());
  EXPECT_EQ(Heard(), "{\"execute\":\"cont\",\"id\":3}\n");
  ASSERT_TRUE(Say("{\"event\": \"RESUME\"}\r\n{\"return\": {}, \"id\": 3}\r\n"));
  EXPECT_EQ(Heard(), kAsk);
  ASSERT_TRUE(SayStatus("running"));
  EXPECT_FALSE(events_->no_room());
}

TEST_F(IoEventsTest, FindsOneThatStoppedBefore) {
  ASSERT_TRUE(Say(kGreeting));
  ASSERT_TRUE(Say("{\"return\": {}, \"id\": 1}\r\n"));
  ASSERT_TRUE(SayStatus("io-error"));
  EXPECT_TRUE(events_->no_room());
}

TEST_F(IoEventsTest, APauseIsNoWantOfSpace) {
  Begin();
  ASSERT_TRUE(Say(kStop));
  ASSERT_TRUE(SayStatus("paused"));
  EXPECT_FALSE(events_->no_room());
}

TEST_F(IoEventsTest, PiecesAndOtherEvents) {
  Begin();
  for (const char c : std::string("{\"event\": \"RTC_CHANGE\"}\r\n") + kStop) {
    ASSERT_TRUE(Say({c}));
  }
  EXPECT_EQ(Heard(), kAsk);
}

TEST_F(IoEventsTest, WhatIsNotTheProtocolIsRefused) {
  const auto code = [this](const std::string& text) {
    const auto read = Say(text);
    return read ? Code::kInternal : read.error().code();
  };
  EXPECT_EQ(code("garbage\n"), Code::kDataLoss);
  SetUp();
  EXPECT_EQ(code("{\"return\": {\"status\": 5}, \"id\": 2}\n"), Code::kDataLoss);
  SetUp();
  base::Result<> read;
  for (int i = 0; read && i < 100; ++i) read = Say(std::string(4096, 'x'));
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), Code::kResourceExhausted);
  SetUp();
  qemu_.Reset();
  read = events_->Read();
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), Code::kUnavailable);
}

// A VMM that sends without end does not keep its reader.
TEST_F(IoEventsTest, AFloodIsReadInParts) {
  Begin();
  const int size = 1 << 20;
  ASSERT_EQ(::setsockopt(qemu_.get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
  const std::string line =
      "{\"event\": \"RTC_CHANGE\", \"data\": \"" + std::string(3000, 'x') + "\"}\r\n";
  std::size_t sent = 0;
  while (::send(qemu_.get(), line.data(), line.size(), MSG_DONTWAIT) > 0) sent += line.size();
  ASSERT_GT(sent, QemuIoEvents::kMaxRead + 4096);
  ASSERT_TRUE(events_->Read());
  char byte;
  EXPECT_EQ(::recv(events_->fd().get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT), 1);
}

}  // namespace
}  // namespace tinderbox::vmm::qemu
