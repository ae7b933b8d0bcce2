// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0

// The gateway between real guests of real slots and an internet that has a name server. Its servers
// say at which address they were reached: only that shows where a connection went.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "egress/gateway.h"
#include "egress/hello_fixture.h"
#include "network/pool_fixture.h"
#include "network/test_net.h"
#include "sys/netns.h"

namespace tinderbox::egress {
namespace {

using network::EgressPolicy;
using network::testing::Guest;
using network::testing::Internet;
using network::testing::PoolTest;
using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr char kNameServer[] = "192.0.2.1";
constexpr char kHere[] = "198.51.100.1";
constexpr char kThere[] = "203.0.113.1";
constexpr char kInside[] = "10.99.0.1";

sockaddr_in At(const std::string& address, std::uint16_t port) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(port);
  ::inet_pton(AF_INET, address.c_str(), &at.sin_addr);
  return at;
}

sys::UniqueFd SocketIn(sys::FdRef netns, int type) {
  sys::UniqueFd fd;
  const auto made = sys::RunInNetNs(netns, [&]() -> base::Result<> {
    fd = sys::UniqueFd(::socket(AF_INET, type | SOCK_CLOEXEC, 0));
    return {};
  });
  EXPECT_TRUE(made && fd);
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  return fd;
}

// Runs `step` whenever the socket has something, until the end.
class Loop {
 public:
  Loop(sys::UniqueFd fd, std::function<void(int fd)> step) : fd_(std::move(fd)) {
    thread_ = std::thread([this, step = std::move(step)] {
      while (!end_) {
        pollfd wait{fd_.get(), POLLIN, 0};
        if (::poll(&wait, 1, 20) > 0) step(fd_.get());
      }
    });
  }
  ~Loop() {
    end_ = true;
    thread_.join();
  }

 private:
  sys::UniqueFd fd_;
  std::atomic<bool> end_ = false;
  std::thread thread_;
};

// Knows some names; all others do not exist.
class NameServer {
 public:
  explicit NameServer(sys::FdRef netns) {
    sys::UniqueFd fd = SocketIn(netns, SOCK_DGRAM);
    const sockaddr_in at = At(kNameServer, 53);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&at), sizeof(at)), 0);
    loop_ = std::make_unique<Loop>(std::move(fd), [this](int socket) { Answer(socket); });
  }
  void Set(const std::string& name, std::vector<std::string> addresses) {
    const std::lock_guard lock(mutex_);
    names_[name] = std::move(addresses);
  }
  int asked() const { return asked_; }

 private:
  void Answer(int socket) {
    char query[512];
    sockaddr_in peer{};
    socklen_t size = sizeof(peer);
    const ssize_t n =
        ::recvfrom(socket, query, sizeof(query), 0, reinterpret_cast<sockaddr*>(&peer), &size);
    if (n < 17) return;
    ++asked_;
    std::string name;
    std::size_t at = 12;
    while (query[at] != 0) {
      if (!name.empty()) name += '.';
      const auto length = static_cast<std::size_t>(query[at]);
      name.append(query + at + 1, length);
      at += length + 1;
    }
    const std::string question(query + 12, at + 5 - 12);
    const std::lock_guard lock(mutex_);
    const auto found = names_.find(name);
    std::string records;
    std::size_t count = 0;
    if (found != names_.end()) {
      for (const std::string& address : found->second) {
        records += std::string("\xc0\x0c\0\1\0\1\0\0\0\1\0\4", 12);
        in_addr raw{};
        ::inet_pton(AF_INET, address.c_str(), &raw);
        records.append(reinterpret_cast<const char*>(&raw), 4);
        ++count;
      }
    }
    std::string reply(query, 2);
    reply += found != names_.end() ? std::string("\x81\x80", 2) : std::string("\x81\x83", 2);
    reply += std::string("\0\1\0", 3) + static_cast<char>(count) + std::string(4, '\0');
    reply += question + records;
    ::sendto(socket, reply.data(), reply.size(), 0, reinterpret_cast<sockaddr*>(&peer), size);
  }

  std::mutex mutex_;
  std::map<std::string, std::vector<std::string>> names_;
  std::atomic<int> asked_ = 0;
  std::unique_ptr<Loop> loop_;
};

// At one address, port 443: answers the first bytes with its address, then sends all back.
class Server {
 public:
  Server(sys::FdRef netns, const std::string& address) : address_(address) {
    sys::UniqueFd fd = SocketIn(netns, SOCK_STREAM);
    const sockaddr_in at = At(address, 443);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&at), sizeof(at)), 0);
    EXPECT_EQ(::listen(fd.get(), 64), 0);
    loop_ = std::make_unique<Loop>(std::move(fd), [this](int listener) {
      ++served_;
      std::thread([this, fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC)] {
        const sys::UniqueFd socket(fd);
        char buffer[4096];
        std::string front = address_ + "|";
        for (ssize_t n = 0; (n = ::recv(fd, buffer, sizeof(buffer), 0)) > 0; front.clear()) {
          const std::string back = front + std::string(buffer, static_cast<std::size_t>(n));
          if (::send(fd, back.data(), back.size(), MSG_NOSIGNAL) < 0) break;
        }
      }).detach();
    });
  }
  int served() const { return served_; }

 private:
  const std::string address_;
  std::atomic<int> served_ = 0;
  std::unique_ptr<Loop> loop_;
};

// A connection out of the guest.
class Call {
 public:
  Call(sys::FdRef netns, const std::string& address, std::uint16_t port)
      : fd_(SocketIn(netns, SOCK_STREAM)) {
    const timeval patience{5, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    const sockaddr_in at = At(address, port);
    if (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&at), sizeof(at)) != 0) {
      error_ = errno;
    }
  }
  // Sends, and returns the next that comes: "" at the end, "error N" for errno N.
  std::string Say(const std::string& bytes) {
    if (error_ != 0) return "error " + std::to_string(error_);
    if (!bytes.empty() && ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) {
      return "error " + std::to_string(errno);
    }
    char buffer[8192];
    const ssize_t n = ::recv(fd_.get(), buffer, sizeof(buffer), 0);
    if (n < 0) return "error " + std::to_string(errno);
    return std::string(buffer, static_cast<std::size_t>(n));
  }

 private:
  sys::UniqueFd fd_;
  int error_ = 0;
};

std::string HelloTo(const std::string& name) {
  return testing::Record(testing::Hello(testing::ServerName(name)));
}
std::string RequestTo(const std::string& host) {
  return "GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n";
}
const std::string kReset = "error " + std::to_string(ECONNRESET);
const std::string kAccessDenied("\x15\x03\x03\x00\x02\x02\x31", 7);

Rules Names(std::initializer_list<const char*> names) {
  Rules rules{.deny = {sys::Ipv4Prefix::Parse("0.0.0.0/0").value()}};
  for (const char* name : names) rules.names.push_back(DomainPattern::Parse(name).value());
  return rules;
}

class GatewayRootTest : public PoolTest {
 protected:
  void SetUp() override {
    Open();
    internet_ = std::make_unique<Internet>();
    names_ = std::make_unique<NameServer>(internet_->netns());
    here_ = std::make_unique<Server>(internet_->netns(), kHere);
    there_ = std::make_unique<Server>(internet_->netns(), kThere);
    inside_ = std::make_unique<Server>(internet_->netns(), kInside);
    names_->Set("here.test", {kHere});
    names_->Set("a.sub.test", {kHere});
    names_->Set("inside.test", {kInside, "127.0.0.1", "169.254.169.254"});
    slot_ = Acquire({.deny = {sys::Ipv4Prefix::Parse("0.0.0.0/0").value()},
                     .redirect = EgressPolicy::Redirect::kDenied});
    guest_ = std::make_unique<Guest>(slot_);
    options_.dns = {kNameServer};
    OpenGateway();
  }
  void TearDown() override { gateway_.reset(); }

  void OpenGateway() {
    gateway_.reset();
    gateway_ = egress::OpenGateway(options_).value();
  }
  void Serve(const Rules& rules) {
    const auto served = gateway_->Serve(slot_.index, pool_->Namespace(slot_.index).value(), rules);
    ASSERT_TRUE(served) << served.error().ToString();
  }
  std::string Tls(const std::string& address, const std::string& name) {
    return Call(guest_->netns(), address, 443).Say(HelloTo(name));
  }
  std::string Http(const std::string& address, const std::string& host) {
    return Call(guest_->netns(), address, 80).Say(RequestTo(host));
  }

  std::unique_ptr<Internet> internet_;
  std::unique_ptr<NameServer> names_;
  std::unique_ptr<Server> here_, there_, inside_;
  network::Slot slot_;
  std::unique_ptr<Guest> guest_;
  GatewayOptions options_;
  std::unique_ptr<Gateway> gateway_;
};

TEST_F(GatewayRootTest, AllowedNameIsDialledWhereverItLeads) {
  Serve(Names({"here.test", "*.sub.test"}));
  EXPECT_EQ(Tls(kHere, "here.test"), std::string(kHere) + "|" + HelloTo("here.test"));
  EXPECT_THAT(Tls(kThere, "HERE.test"), StartsWith(std::string(kHere) + "|"))
      << "the right name at another's address leads to its own";
  EXPECT_THAT(Tls(kThere, "a.sub.test"), StartsWith(std::string(kHere) + "|"));
  EXPECT_THAT(Http(kThere, "here.test"), StartsWith("echo:GET / HTTP/1.1"));
  EXPECT_EQ(there_->served(), 0);
}

TEST_F(GatewayRootTest, OtherNamesAreRefusedInTheGuestsLanguage) {
  Serve(Names({"here.test"}));
  EXPECT_EQ(Tls(kHere, "there.test"), kAccessDenied);
  EXPECT_EQ(Tls(kHere, "sub.here.test"), kAccessDenied);
  EXPECT_EQ(Tls(kHere, "192.0.2.1"), kAccessDenied);
  const std::string answer = Http(kHere, "there.test");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 403 Forbidden\r\n"));
  EXPECT_THAT(answer, HasSubstr("'there.test' is out of reach by the network rules"));
  EXPECT_EQ(Call(guest_->netns(), kHere, 443).Say("SSH-2.0-client\r\n"), kAccessDenied);
  EXPECT_EQ(here_->served(), 0);
  EXPECT_EQ(names_->asked(), 0) << "nobody is told of a name that is not allowed";
}

TEST_F(GatewayRootTest, NameThatLeadsInsideIsRefused) {
  Serve(Names({"inside.test"}));
  EXPECT_EQ(Tls(kHere, "inside.test"), kAccessDenied);
  EXPECT_THAT(Http(kHere, "inside.test"), StartsWith("HTTP/1.1 403"));
  EXPECT_EQ(inside_->served(), 0);
}

TEST_F(GatewayRootTest, NameThatDoesNotExistIsSaidSo) {
  Serve(Names({"nowhere.test"}));
  const std::string answer = Http(kHere, "nowhere.test");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 502 Bad Gateway\r\n"));
  EXPECT_THAT(answer, HasSubstr("look up 'nowhere.test': it has no IPv4 address"));
}

TEST_F(GatewayRootTest, ServerThatDoesNotAnswerIsPassedOver) {
  names_->Set("two.test", {"192.0.2.77", kHere});  // nobody is at the first
  Serve(Names({"two.test"}));
  EXPECT_THAT(Tls(kThere, "two.test"), StartsWith(std::string(kHere) + "|"));
}

TEST_F(GatewayRootTest, GuestThatSaysNothingIsResetInTime) {
  options_.first_bytes = milliseconds(200);
  OpenGateway();
  Serve(Names({"here.test"}));
  EXPECT_EQ(Call(guest_->netns(), kHere, 443).Say(""), kReset);
  EXPECT_EQ(Call(guest_->netns(), kHere, 80).Say("GET / HTTP/1.1\r\n").substr(0, 12),
            "HTTP/1.1 403");
}

TEST_F(GatewayRootTest, ChangedRulesResetWhatTheyDoNotAllow) {
  names_->Set("stays.test", {kHere});
  Serve(Names({"here.test", "stays.test"}));
  Call goes(guest_->netns(), kHere, 443);
  Call stays(guest_->netns(), kHere, 443);
  EXPECT_THAT(goes.Say(HelloTo("here.test")), StartsWith(std::string(kHere) + "|"));
  EXPECT_THAT(stays.Say(HelloTo("stays.test")), StartsWith(std::string(kHere) + "|"));
  EXPECT_EQ(goes.Say("more"), "more");
  Serve(Names({"stays.test"}));
  EXPECT_EQ(goes.Say(""), kReset);
  EXPECT_EQ(stays.Say("more"), "more");
  EXPECT_EQ(Tls(kHere, "here.test"), kAccessDenied);
  Serve(Names({"here.test"}));
  EXPECT_EQ(stays.Say(""), kReset);
  EXPECT_THAT(Tls(kHere, "here.test"), StartsWith(std::string(kHere) + "|"));
}

TEST_F(GatewayRootTest, ForgottenSlotRefusesAndLeavesNothing) {
  Serve(Names({"here.test"}));
  Call stands(guest_->netns(), kHere, 443);
  EXPECT_THAT(stands.Say(HelloTo("here.test")), StartsWith(std::string(kHere) + "|"));
  gateway_->Forget(slot_.index);
  EXPECT_EQ(stands.Say(""), kReset);
  EXPECT_EQ(Tls(kHere, "here.test"), "error " + std::to_string(ECONNREFUSED));
  EXPECT_EQ(gateway_->counts().slots, 0U);
  gateway_->Forget(slot_.index);
  Serve(Names({"here.test"}));
  EXPECT_THAT(Tls(kHere, "here.test"), StartsWith(std::string(kHere) + "|"));
}

TEST_F(GatewayRootTest, SlotIsServedAgainByTheNextGateway) {
  Serve(Names({"here.test"}));
  Call stands(guest_->netns(), kHere, 443);
  EXPECT_THAT(stands.Say(HelloTo("here.test")), StartsWith(std::string(kHere) + "|"));
  gateway_.reset();
  EXPECT_EQ(stands.Say(""), kReset);
  EXPECT_EQ(Tls(kHere, "here.test"), "error " + std::to_string(ECONNREFUSED)) << "fails closed";
  OpenGateway();
  Serve(Names({"here.test"}));
  EXPECT_THAT(Tls(kHere, "here.test"), StartsWith(std::string(kHere) + "|"));
}

TEST_F(GatewayRootTest, ConnectionsOfOneGuestAreBounded) {
  options_.connections_per_slot = 3;
  OpenGateway();
  Serve(Names({"here.test"}));
  std::vector<std::unique_ptr<Call>> calls;
  for (int i = 0; i < 3; ++i) {
    calls.push_back(std::make_unique<Call>(guest_->netns(), kHere, 443));
    EXPECT_THAT(calls.back()->Say(HelloTo("here.test")), StartsWith(std::string(kHere) + "|"));
  }
  EXPECT_EQ(Tls(kHere, "here.test").substr(0, 5), "error");
  calls.pop_back();
  std::string answer;
  for (int i = 0; i < 100 && !answer.starts_with(kHere); ++i) {
    answer = Tls(kHere, "here.test");
    std::this_thread::sleep_for(milliseconds(20));
  }
  EXPECT_THAT(answer, StartsWith(kHere)) << "one has left, so another may come";
}

TEST_F(GatewayRootTest, WhatTheAddressAllowsGoesOnWithoutAName) {
  ASSERT_TRUE(pool_->SetPolicy(slot_.index, {.redirect = EgressPolicy::Redirect::kAll}));
  Serve(Rules{});
  EXPECT_THAT(Tls(kThere, "whatever.test"), StartsWith(std::string(kThere) + "|"));
  EXPECT_THAT(Call(guest_->netns(), kThere, 443).Say("SSH-2.0-client\r\n"),
              StartsWith(std::string(kThere) + "|SSH-2.0"));
}

}  // namespace
}  // namespace tinderbox::egress
