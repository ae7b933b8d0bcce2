// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0

// Connections that end in the slot's own namespace instead, tried with real packets.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <memory>

#include "network/pool_fixture.h"
#include "network/test_net.h"
#include "sys/netns.h"

namespace tinderbox::network {
namespace {

using Redirect = EgressPolicy::Redirect;
using std::chrono::milliseconds;
using testing::EchoServer;
using testing::Exchange;
using testing::Guest;
using testing::Internet;
using testing::PoolTest;
using testing::Protocol;

constexpr milliseconds kLong{3000};  // for what must work, on a busy machine too
constexpr milliseconds kShort{200};  // for what must not
constexpr char kServer[] = "203.0.113.1";

sys::Ipv4Prefix Network(const char* text) { return sys::Ipv4Prefix::Parse(text).value(); }
EgressPolicy AllDenied() {
  return {.deny = {Network("0.0.0.0/0")},
          .allow = {Network("198.51.100.0/24")},
          .redirect = Redirect::kDenied,
          .dns = {sys::Ipv4::Parse("192.0.2.1").value()}};
}

class RedirectRootTest : public PoolTest {
 protected:
  void SetUp() override {
    Open();
    internet_ = std::make_unique<Internet>();
  }

  // A guest, and in its slot's namespace a server in the gateway's place.
  void MakeGuest(const EgressPolicy& policy) {
    slot_ = Acquire(policy);
    guest_ = std::make_unique<Guest>(slot_);
    netns_ = pool_->Namespace(slot_.index).value();
    gateway_ = std::make_unique<EchoServer>(netns_, std::vector{kRedirectPort});
  }
  // Who answers the guest.
  std::string Answerer(const std::string& address, std::uint16_t port,
                       Protocol protocol = Protocol::kTcp, milliseconds patience = kLong) {
    const int outside = internet_->server().served();
    const int inside = gateway_->served();
    const int err = Exchange(guest_->netns(), protocol, address, port, patience);
    if (err != 0) return "nobody";
    if (gateway_->served() > inside) return "gateway";
    return internet_->server().served() > outside ? "internet" : "somebody else";
  }

  std::unique_ptr<Internet> internet_;
  Slot slot_;
  sys::UniqueFd netns_;
  std::unique_ptr<Guest> guest_;
  std::unique_ptr<EchoServer> gateway_;
};

TEST_F(RedirectRootTest, WebConnectionsToWhatIsDeniedEndAtTheGateway) {
  MakeGuest(AllDenied());
  EXPECT_EQ(Answerer(kServer, 80), "gateway");
  EXPECT_EQ(Answerer("198.51.100.1", 80), "internet") << "allowed by its address";
  EXPECT_EQ(Answerer(kServer, 53, Protocol::kTcp, kShort), "nobody") << "another port";
  EXPECT_EQ(Answerer(kServer, 80, Protocol::kUdp, kShort), "nobody") << "another protocol";
  for (const char* address : {"10.99.0.1", "169.254.169.254", "192.168.7.1"}) {
    EXPECT_EQ(Answerer(address, 80, Protocol::kTcp, kShort), "nobody") << address;
  }
}

TEST_F(RedirectRootTest, NameServersAnswerWhateverElseIsDenied) {
  MakeGuest(AllDenied());
  EXPECT_EQ(Answerer("192.0.2.1", 53), "internet");
  EXPECT_EQ(Answerer("192.0.2.1", 53, Protocol::kUdp), "internet");
  EXPECT_EQ(Answerer(kServer, 53, Protocol::kUdp, kShort), "nobody")
      << "it is no name server of the policy";
}

TEST_F(RedirectRootTest, GatewayItselfIsOutOfReach) {
  MakeGuest(AllDenied());
  EXPECT_EQ(Answerer(kGatewayAddress, kRedirectPort, Protocol::kTcp, kShort), "nobody");
  EXPECT_EQ(Answerer(kServer, kRedirectPort, Protocol::kTcp, kShort), "nobody");
}

TEST_F(RedirectRootTest, WithoutGatewayNobodyAnswers) {
  MakeGuest(AllDenied());
  gateway_.reset();
  EXPECT_EQ(Exchange(guest_->netns(), Protocol::kTcp, kServer, 80, kLong), ECONNREFUSED);
}

TEST_F(RedirectRootTest, AllWebConnectionsWhereAllAreWanted) {
  MakeGuest({.redirect = Redirect::kAll});
  EXPECT_EQ(Answerer(kServer, 80), "gateway");
  EXPECT_EQ(Answerer(kServer, 53), "internet");
  EXPECT_EQ(Answerer("10.99.0.1", 80, Protocol::kTcp, kShort), "nobody");
}

TEST_F(RedirectRootTest, EveryPortWhereEveryOneIsWanted) {
  EgressPolicy policy = AllDenied();
  policy.allow.clear();
  policy.redirect = Redirect::kEveryPort;
  MakeGuest(policy);
  EXPECT_EQ(Answerer(kServer, 80), "gateway");
  EXPECT_EQ(Answerer(kServer, 53), "gateway");
  EXPECT_EQ(Answerer(kServer, 22), "gateway");
  EXPECT_EQ(Answerer(kServer, 53, Protocol::kUdp, kShort), "nobody");
  EXPECT_EQ(Answerer("192.0.2.1", 53), "internet") << "a name server of the policy";
  EXPECT_EQ(Answerer("192.0.2.1", 53, Protocol::kUdp), "internet");
  EXPECT_EQ(Answerer("10.99.0.1", 22, Protocol::kTcp, kShort), "nobody");
}

TEST_F(RedirectRootTest, ChangesTakeHoldOfNewConnections) {
  MakeGuest({});
  EXPECT_EQ(Answerer(kServer, 80), "internet");
  ASSERT_TRUE(pool_->SetPolicy(slot_.index, AllDenied()));
  EXPECT_EQ(Answerer(kServer, 80), "gateway");
  ASSERT_TRUE(pool_->SetPolicy(slot_.index, {.allow_internet = false}));
  EXPECT_EQ(Answerer(kServer, 80, Protocol::kTcp, kShort), "nobody");
}

// What becomes of a connection from the namespace whose socket was made by user `uid`.
int ConnectAs(uid_t uid, sys::FdRef netns, const char* address, std::uint16_t port) {
  int err = EINPROGRESS;
  const auto done = sys::RunInNetNs(netns, [&]() -> base::Result<> {
    ::setfsuid(uid);  // of this thread, which ends with this function
    const sys::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const timeval patience{0, 500'000};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    ::inet_pton(AF_INET, address, &to.sin_addr);
    err = ::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)) == 0 ? 0 : errno;
    return {};
  });
  EXPECT_TRUE(done);
  return err;
}

TEST_F(RedirectRootTest, OnlyRootsSocketsInTheNamespaceReachTheInternet) {
  slot_ = Acquire(AllDenied());
  netns_ = pool_->Namespace(slot_.index).value();
  EXPECT_EQ(ConnectAs(0, netns_, kServer, 80), 0);
  EXPECT_NE(ConnectAs(slot_.uid, netns_, kServer, 80), 0) << "the VMM's user";
  EXPECT_NE(Exchange(netns_, Protocol::kTcp, kServer, 53, kShort), 0) << "another port";
  EXPECT_NE(Exchange(netns_, Protocol::kTcp, "10.99.0.1", 80, kShort), 0) << "a private network";
  EXPECT_NE(Exchange(netns_, Protocol::kTcp, "192.168.7.1", 80, kShort), 0);
}

}  // namespace
}  // namespace tinderbox::network
