// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0

// What a guest can reach and what it cannot, tried with real packets through real slots. Every
// target that must be out of reach has a server that would answer, and the played host reaches it:
// only the rules can be why the guest does not.
#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <thread>

#include "network/nftables.h"
#include "network/pool_fixture.h"
#include "network/rules.h"
#include "network/test_net.h"
#include "sys/file.h"
#include "sys/netns.h"

namespace tinderbox::network {
namespace {

using base::Deadline;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::EchoServer;
using testing::Exchange;
using testing::Guest;
using testing::Internet;
using testing::PoolTest;
using testing::Protocol;
using testing::SeizedTable;
using testing::Tool;

constexpr milliseconds kLong{3000};  // for what must work, on a busy machine too
constexpr milliseconds kShort{200};  // for what must not; a hundred times what an answer takes
constexpr std::uint16_t kHostPort = 7777;

class EgressRootTest : public PoolTest {
 protected:
  void SetUp() override {
    // First, so that the pool knows the host's address from the beginning.
    internet_ = std::make_unique<Internet>();
    Open();
    host_netns_ = std::move(sys::CurrentNetNs()).value();
    host_server_ = std::make_unique<EchoServer>(host_netns_, std::vector{kHostPort});
  }

  void MakeGuest(const EgressPolicy& policy = {}) {
    slot_ = Acquire(policy);
    guest_ = std::make_unique<Guest>(slot_);
  }

  static void InSlot(const Slot& slot, const std::function<base::Result<>()>& work) {
    const auto netns = sys::OpenNetNs(slot.netns_name);
    ASSERT_TRUE(netns);
    const auto done = sys::RunInNetNs(*netns, work);
    ASSERT_TRUE(done) << done.error().ToString();
  }

  void InGuest(const std::vector<std::string>& argv) {
    const auto done = sys::RunInNetNs(guest_->netns(), [&]() -> base::Result<> {
      Tool(argv);
      return {};
    });
    ASSERT_TRUE(done);
  }

  void InGuestSet(const std::string& option) {
    const auto done = sys::RunInNetNs(guest_->netns(), [&]() -> base::Result<> {
      return sys::WriteExisting("/proc/sys/net/" + option, "1");
    });
    ASSERT_TRUE(done) << done.error().ToString();
  }

  int FromGuest(Protocol protocol, const std::string& address, std::uint16_t port,
                milliseconds patience = kShort, const std::string& source = {}) {
    return Exchange(guest_->netns(), protocol, address, port, patience, source);
  }
  void ExpectReachable(const std::string& address, std::uint16_t port) {
    EXPECT_EQ(FromGuest(Protocol::kTcp, address, port, kLong), 0) << "TCP " << address;
    EXPECT_EQ(FromGuest(Protocol::kUdp, address, port, kLong), 0) << "UDP " << address;
  }
  void ExpectUnreachable(const std::string& address, std::uint16_t port) {
    EXPECT_NE(FromGuest(Protocol::kTcp, address, port), 0) << "TCP " << address << ":" << port;
    EXPECT_NE(FromGuest(Protocol::kUdp, address, port), 0) << "UDP " << address << ":" << port;
  }
  void ExpectHostReaches(const std::string& address, std::uint16_t port) {
    EXPECT_EQ(Exchange(host_netns_, Protocol::kTcp, address, port, kLong), 0) << address;
    EXPECT_EQ(Exchange(host_netns_, Protocol::kUdp, address, port, kLong), 0) << address;
  }

  std::unique_ptr<Internet> internet_;
  sys::UniqueFd host_netns_;
  std::unique_ptr<EchoServer> host_server_;
  Slot slot_;
  std::unique_ptr<Guest> guest_;
};

const std::vector<std::string> kForbidden = {
    "10.99.0.1",       "172.16.5.1", "192.168.7.1", "100.64.0.9",
    "169.254.169.254", "198.18.0.1", "240.0.0.1",   "0.1.2.3",
};

TEST_F(EgressRootTest, PublicAddressesAndDnsAnswer) {
  MakeGuest();
  for (const char* address : {"192.0.2.1", "198.51.100.1", "203.0.113.1"}) {
    ExpectReachable(address, 80);
    ExpectReachable(address, 53);
    EXPECT_EQ(internet_->server().last_peer(), "192.0.2.2") << "hidden behind the host's address";
  }
}

TEST_F(EgressRootTest, PrivateAndReservedAddressesDoNot) {
  MakeGuest();
  for (const std::string& address : kForbidden) {
    ExpectHostReaches(address, 80);
    ExpectUnreachable(address, 80);
    ExpectUnreachable(address, 53);
  }
  EXPECT_NE(FromGuest(Protocol::kUdp, "255.255.255.255", 53), 0);
  EXPECT_NE(FromGuest(Protocol::kUdp, "224.0.0.1", 53), 0);
}

TEST_F(EgressRootTest, ARefusalIsHeardAtOnce) {
  MakeGuest();
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(FromGuest(Protocol::kTcp, "169.254.169.254", 80, seconds(5)), EHOSTUNREACH);
  EXPECT_LT(std::chrono::steady_clock::now() - start, seconds(1));
}

TEST_F(EgressRootTest, TheHostIsOutOfReachAtEveryAddress) {
  MakeGuest();
  for (const std::string address : {"192.0.2.2", "10.212.0.1", "127.0.0.1"}) {
    ExpectHostReaches(address, kHostPort);
    if (address != "127.0.0.1") ExpectUnreachable(address, kHostPort);
  }
  // The gateway: a server inside the slot's own namespace, on every address of it.
  const auto netns = sys::OpenNetNs(slot_.netns_name);
  ASSERT_TRUE(netns);
  EchoServer inner(*netns, {kHostPort});
  ExpectUnreachable(kGatewayAddress, kHostPort);
  ExpectUnreachable("10.212.0.2", kHostPort);
  EXPECT_EQ(inner.served(), 0);
}

TEST_F(EgressRootTest, LoopbackOfTheHostIsOutOfReachByTrickery) {
  MakeGuest();
  // The guest is root in its own kernel: it can send 127/8 out of its interface.
  InGuestSet("ipv4/conf/all/route_localnet");
  InGuest({"ip", "route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local"});
  InGuest({"ip", "route", "del", "local", "127.0.0.1", "dev", "lo", "table", "local"});
  InGuest({"ip", "route", "add", "127.0.0.0/8", "via", kGatewayAddress});
  const int served = host_server_->served();
  EXPECT_NE(FromGuest(Protocol::kTcp, "127.0.0.1", kHostPort, kShort, kGuestAddress), 0);
  EXPECT_NE(FromGuest(Protocol::kUdp, "127.0.0.1", kHostPort, kShort, kGuestAddress), 0);
  EXPECT_EQ(host_server_->served(), served);
}

TEST_F(EgressRootTest, OtherSlotsAreOutOfReach) {
  MakeGuest();
  const Slot other = Acquire();
  Guest neighbour(other);
  EchoServer server(neighbour.netns(), {kHostPort});
  const auto netns = sys::OpenNetNs(other.netns_name);
  ASSERT_TRUE(netns);
  EchoServer inner(*netns, {kHostPort});
  for (const char* address : {"10.212.0.5", "10.212.0.6"}) ExpectUnreachable(address, kHostPort);
  EXPECT_EQ(server.served() + inner.served(), 0);
  EXPECT_TRUE(pool_->Dial(other.index, kHostPort, Deadline::After(seconds(5))));
}

TEST_F(EgressRootTest, ASpoofedSourceGetsNowhere) {
  MakeGuest();
  InGuest({"ip", "address", "add", "198.51.100.77/32", "dev", "ens0"});
  InGuest({"ip", "address", "add", "10.212.0.2/32", "dev", "ens0"});
  ExpectReachable("192.0.2.1", 80);
  const int served = internet_->server().served();
  for (const char* source : {"198.51.100.77", "10.212.0.2"}) {
    EXPECT_NE(FromGuest(Protocol::kUdp, "192.0.2.1", 80, kShort, source), 0);
    EXPECT_NE(FromGuest(Protocol::kTcp, "192.0.2.1", 80, kShort, source), 0);
  }
  EXPECT_EQ(internet_->server().served(), served);
}

TEST_F(EgressRootTest, Ipv6IsDropped) {
  MakeGuest();
  EXPECT_EQ(Exchange(host_netns_, Protocol::kTcp, "2001:db8::1", 8080, kLong), 0);
  ASSERT_TRUE(sys::WriteExisting("/proc/sys/net/ipv6/conf/all/forwarding", "1"));
  InGuest({"ip", "address", "add", "2001:db8:9::21/64", "dev", "ens0", "nodad"});
  // No neighbour discovery is needed: the packets do enter the slot's namespace.
  InGuest(
      {"ip", "neighbour", "add", "2001:db8:9::1", "lladdr", "02:fc:00:00:00:06", "dev", "ens0"});
  InGuest({"ip", "route", "add", "default", "via", "2001:db8:9::1"});
  EchoServer host6(host_netns_, {kHostPort}, AF_INET6);
  EXPECT_EQ(Exchange(internet_->netns(), Protocol::kTcp, "2001:db8::2", kHostPort, kLong), 0);
  const auto netns = sys::OpenNetNs(slot_.netns_name);
  ASSERT_TRUE(netns);
  EchoServer inner6(*netns, {kHostPort}, AF_INET6);
  const int served = internet_->server6().served();
  for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
    EXPECT_NE(FromGuest(protocol, "2001:db8::1", 8080), 0);
    EXPECT_NE(FromGuest(protocol, "2001:db8::2", kHostPort), 0);
    EXPECT_NE(FromGuest(protocol, "2001:db8:9::1", kHostPort), 0);
  }
  // Even with IPv6 switched on in the namespace the rules hold.
  InSlot(slot_, []() -> base::Result<> {
    for (const char* link : {"all", "tap0", "eth0"}) {
      const std::string directory = std::string("/proc/sys/net/ipv6/conf/") + link;
      TRY(sys::WriteExisting(directory + "/disable_ipv6", "0"));
      TRY(sys::WriteExisting(directory + "/forwarding", "1"));
    }
    Tool({"ip", "-6", "address", "add", "2001:db8:9::1/64", "dev", "tap0", "nodad"});
    return {};
  });
  EXPECT_NE(FromGuest(Protocol::kUdp, "2001:db8:9::1", kHostPort), 0);
  EXPECT_NE(FromGuest(Protocol::kTcp, "2001:db8::1", 8080), 0);
  EXPECT_EQ(internet_->server6().served(), served);
  EXPECT_EQ(host6.served(), 1);
  EXPECT_EQ(inner6.served(), 0);
}

TEST_F(EgressRootTest, NobodyComesInUnasked) {
  MakeGuest();
  EchoServer server(guest_->netns(), {kHostPort});
  for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
    // The internet's way back leads to the host, so these packets do arrive there.
    EXPECT_NE(Exchange(internet_->netns(), protocol, "10.212.0.2", kHostPort, kShort), 0);
    EXPECT_NE(Exchange(internet_->netns(), protocol, kGuestAddress, kHostPort, kShort), 0);
    EXPECT_NE(Exchange(host_netns_, protocol, "10.212.0.2", kHostPort, kShort), 0);
  }
  EXPECT_EQ(server.served(), 0);
}

TEST_F(EgressRootTest, DenyAllBlocksEverythingButDial) {
  MakeGuest({.allow_internet = false});
  for (const char* address : {"192.0.2.1", "198.51.100.1", "203.0.113.1", "192.0.2.2"}) {
    ExpectUnreachable(address, 80);
    ExpectUnreachable(address, 53);
  }
  for (const std::string& address : kForbidden) ExpectUnreachable(address, 80);
  ExpectUnreachable(kGatewayAddress, kHostPort);
  EXPECT_EQ(internet_->server().served(), 0);
  EchoServer server(guest_->netns(), {49983});
  EXPECT_TRUE(pool_->Dial(slot_.index, 49983, Deadline::After(seconds(5))));
}

TEST_F(EgressRootTest, DialWorksWhileAllElseIsDenied) {
  MakeGuest();
  EchoServer server(guest_->netns(), {49983});
  ExpectUnreachable("10.99.0.1", 80);
  EXPECT_TRUE(pool_->Dial(slot_.index, 49983, Deadline::After(seconds(5))));
}

TEST_F(EgressRootTest, ThePolicyChangesWhileTheGuestRuns) {
  MakeGuest();
  ExpectReachable("192.0.2.1", 80);
  ASSERT_TRUE(pool_->SetPolicy(slot_.index, {.allow_internet = false}));
  ExpectUnreachable("192.0.2.1", 80);
  ASSERT_TRUE(pool_->SetPolicy(slot_.index, {.allow_internet = true}));
  ExpectReachable("192.0.2.1", 80);
  EXPECT_FALSE(pool_->SetPolicy(9, {}));
}

std::vector<sys::Ipv4Prefix> Networks(const std::vector<const char*>& texts) {
  std::vector<sys::Ipv4Prefix> networks;
  for (const char* text : texts) networks.push_back(sys::Ipv4Prefix::Parse(text).value());
  return networks;
}

TEST_F(EgressRootTest, DeniedNetworksAreOutOfReachAndTheRestIsNot) {
  MakeGuest({.deny = Networks({"198.51.100.0/24", "203.0.113.1/32"})});
  ExpectReachable("192.0.2.1", 80);
  ExpectUnreachable("198.51.100.1", 80);
  ExpectUnreachable("203.0.113.1", 80);
  EXPECT_EQ(FromGuest(Protocol::kTcp, "198.51.100.1", 80, seconds(5)), EHOSTUNREACH);
}

TEST_F(EgressRootTest, AllowedNetworksAreTheExceptionsAndOpenNothingPrivate) {
  // All that no guest may reach is asked for by name; what is allowed has to be public all the
  // same.
  MakeGuest({.deny = Networks({"0.0.0.0/0"}),
             .allow = Networks({"192.0.2.0/24", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
                                "100.64.0.0/10", "169.254.0.0/16", "198.18.0.0/15", "240.0.0.0/4",
                                "0.0.0.0/8", "127.0.0.0/8"})});
  ExpectReachable("192.0.2.1", 80);
  ExpectUnreachable("198.51.100.1", 80);
  for (const std::string& address : kForbidden) ExpectUnreachable(address, 80);
  for (const char* address : {"192.0.2.2", "10.212.0.1", "10.212.0.2", "169.254.0.22"}) {
    ExpectUnreachable(address, kHostPort);
  }
  const Slot other = Acquire();
  Guest neighbour(other);
  EchoServer server(neighbour.netns(), {kHostPort});
  for (const char* address : {"10.212.0.5", "10.212.0.6"}) ExpectUnreachable(address, kHostPort);
  EXPECT_EQ(server.served(), 0);
}

TEST_F(EgressRootTest, TighteningCutsWhatIsNoLongerAllowedInBothDirections) {
  MakeGuest();
  // A connected socket of the internet's, to which the guest spoke first.
  sys::UniqueFd far, near;
  const auto socket_at = [](sys::UniqueFd& fd, const char* own, std::uint16_t own_port) {
    return [&fd, own, own_port]() -> base::Result<> {
      fd = sys::UniqueFd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      const timeval patience{.tv_sec = 1, .tv_usec = 0};
      setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
      sockaddr_in at{
          .sin_family = AF_INET, .sin_port = htons(own_port), .sin_addr = {}, .sin_zero = {}};
      inet_pton(AF_INET, own, &at.sin_addr);
      if (bind(fd.get(), reinterpret_cast<sockaddr*>(&at), sizeof(at)) != 0) {
        return base::FailErrno(errno, "bind");
      }
      return {};
    };
  };
  ASSERT_TRUE(sys::RunInNetNs(internet_->netns(), socket_at(far, "198.51.100.1", 5000)));
  ASSERT_TRUE(sys::RunInNetNs(guest_->netns(), socket_at(near, kGuestAddress, 5001)));
  sockaddr_in to{.sin_family = AF_INET, .sin_port = htons(5000), .sin_addr = {}, .sin_zero = {}};
  inet_pton(AF_INET, "198.51.100.1", &to.sin_addr);
  sockaddr_in peer{};
  socklen_t size = sizeof(peer);
  char byte = 0;
  const auto pushed = [&] {
    sendto(far.get(), "y", 1, 0, reinterpret_cast<sockaddr*>(&peer), size);
    return recv(near.get(), &byte, 1, 0) == 1;
  };
  ASSERT_EQ(sendto(near.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof(to)), 1);
  ASSERT_EQ(recvfrom(far.get(), &byte, 1, 0, reinterpret_cast<sockaddr*>(&peer), &size), 1);
  EXPECT_TRUE(pushed());
  ASSERT_TRUE(pool_->SetPolicy(slot_.index, {.deny = Networks({"198.51.100.0/24"})}));
  EXPECT_FALSE(pushed()) << "the far end still speaks into a connection that is forbidden now";
  sendto(near.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof(to));
  EXPECT_EQ(recv(far.get(), &byte, 1, 0), -1);
  ExpectReachable("192.0.2.1", 80);
  ASSERT_TRUE(pool_->SetPolicy(slot_.index, {.deny = Networks({"198.51.100.0/24"}),
                                             .allow = Networks({"198.51.100.1/32"})}));
  ExpectReachable("198.51.100.1", 80);
}

TEST_F(EgressRootTest, APolicyHasALimit) {
  MakeGuest();
  EgressPolicy policy;
  for (std::uint32_t i = 0; i < kMostPolicyNetworks; ++i) {
    policy.deny.push_back({sys::Ipv4{(203u << 24) + (i << 9)}, 24});
  }
  ASSERT_TRUE(pool_->SetPolicy(slot_.index, policy));
  ExpectReachable("192.0.2.1", 80);
  policy.allow = Networks({"192.0.2.1/32"});
  EXPECT_EQ(pool_->SetPolicy(slot_.index, policy).error().code(), base::Code::kInvalidArgument);
  EXPECT_EQ(pool_->Acquire(policy).error().code(), base::Code::kInvalidArgument);
}

TEST_F(EgressRootTest, OneGuestCannotFillTheHostsConnectionTable) {
  MakeGuest();
  // One datagram from each of 500 more ports.
  std::uint16_t port = 10000;
  const auto send_some = [&]() -> base::Result<> {
    sockaddr_in to{.sin_family = AF_INET, .sin_port = htons(53), .sin_addr = {}, .sin_zero = {}};
    inet_pton(AF_INET, "198.51.100.1", &to.sin_addr);
    for (const int last = port + 500; port < last; ++port) {
      const sys::UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      sockaddr_in from{
          .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {}, .sin_zero = {}};
      if (bind(fd.get(), reinterpret_cast<sockaddr*>(&from), sizeof(from)) != 0) {
        return base::FailErrno(errno, "bind a source port");
      }
      sendto(fd.get(), "x", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof(to));
    }
    return {};
  };
  const auto tracked = [&] {
    int count = 0;
    InSlot(slot_, [&]() -> base::Result<> {
      count = std::stoi(TRY(sys::ReadFile("/proc/sys/net/netfilter/nf_conntrack_count")));
      return {};
    });
    return count;
  };
  // A busy machine loses some on the way to the slot.
  const int limit = static_cast<int>(pool_->CheckRules().connections);
  while (tracked() < limit && port < 60000) {
    ASSERT_TRUE(sys::RunInNetNs(guest_->netns(), send_some));
    std::this_thread::sleep_for(milliseconds(10));
  }
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(sys::RunInNetNs(guest_->netns(), send_some));
  std::this_thread::sleep_for(milliseconds(100));
  EXPECT_GE(tracked(), limit);
  EXPECT_LE(tracked(), limit + 8);
  EXPECT_NE(FromGuest(Protocol::kUdp, "192.0.2.1", 53), 0);
  // The neighbours notice nothing.
  guest_.reset();
  MakeGuest();
  ExpectReachable("192.0.2.1", 53);
}

TEST_F(EgressRootTest, SegmentsFitTheWayOut) {
  Tool({"ip", "link", "set", "wan0", "mtu", "1400"});
  MakeGuest();
  ExpectReachable("192.0.2.1", 80);
  // 40 bytes of headers, and 12 of TCP timestamps, which the kernel takes off as well.
  EXPECT_LE(internet_->server().last_segment_size(), 1360);
  EXPECT_GT(internet_->server().last_segment_size(), 1300);
}

// The guest of a restored snapshot believes in connections that this namespace never saw: it is
// told at once that they are dead.
TEST_F(EgressRootTest, AConnectionFromBeforeARestoreIsReset) {
  MakeGuest();
  sys::UniqueFd fd;
  const auto connect_out = [&]() -> base::Result<> {
    sockaddr_in to{.sin_family = AF_INET, .sin_port = htons(80), .sin_addr = {}, .sin_zero = {}};
    inet_pton(AF_INET, "192.0.2.1", &to.sin_addr);
    fd = sys::UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)) != 0) {
      return base::FailErrno(errno, "connect");
    }
    return {};
  };
  auto guest_netns = sys::UniqueFd(fcntl(guest_->netns().get(), F_DUPFD_CLOEXEC, 0));
  ASSERT_TRUE(sys::RunInNetNs(guest_netns, connect_out));
  const Slot fresh = Acquire();
  guest_.reset();
  Guest restored(fresh, std::move(guest_netns));
  const timeval patience{.tv_sec = 5, .tv_usec = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  Tool({"ip", "link", "set", "wan0", "down"});  // not the far end is it that resets
  ASSERT_EQ(send(fd.get(), "ping", 4, MSG_NOSIGNAL), 4);
  char byte = 0;
  EXPECT_EQ(recv(fd.get(), &byte, 1, 0), -1);
  EXPECT_EQ(errno, ECONNRESET);
}

// The host's own rules are the second line: with the namespace's rules gone altogether, and a way
// out of it, private ranges, the host and the neighbours stay out of reach.
TEST_F(EgressRootTest, TheHostsRulesHoldWithoutTheNamespaces) {
  MakeGuest();
  const Slot other = Acquire();
  InSlot(slot_, []() -> base::Result<> {
    TRY(RunNft(RemoveTable(kInnerTable) +
               "table ip out {\nchain post {\ntype nat hook postrouting priority srcnat\n"
               "oifname \"eth0\" masquerade\n}\n}\n"));
    return {};
  });
  InSlot(other, []() -> base::Result<> {
    TRY(RunNft(RemoveTable(kInnerTable)));
    return {};
  });
  const auto netns = sys::OpenNetNs(other.netns_name);
  ASSERT_TRUE(netns);
  EchoServer inner(*netns, {kHostPort});
  EXPECT_EQ(Exchange(*netns, Protocol::kTcp, "10.212.0.6", kHostPort, kLong), 0);
  ExpectReachable("192.0.2.1", 80);
  for (const std::string& address : kForbidden) ExpectUnreachable(address, 80);
  const int served = host_server_->served();
  for (const char* address : {"192.0.2.2", "10.212.0.1", "10.212.0.5", "10.212.0.6"}) {
    ExpectUnreachable(address, kHostPort);
  }
  EXPECT_EQ(host_server_->served(), served);
  for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
    EXPECT_NE(Exchange(internet_->netns(), protocol, "10.212.0.6", kHostPort, kShort), 0);
  }
  EXPECT_EQ(inner.served(), 1);
  // And a source that is not of the veth's /30 goes nowhere, even to the internet.
  InSlot(slot_, []() -> base::Result<> {
    TRY(RunNft("delete table ip out\n"));
    return {};
  });
  for (const std::string& link : {std::string("all"), options_.prefix + "v1"}) {
    ASSERT_TRUE(sys::WriteExisting("/proc/sys/net/ipv4/conf/" + link + "/rp_filter", "0"));
  }
  const int seen = internet_->server().served();
  EXPECT_NE(FromGuest(Protocol::kUdp, "192.0.2.1", 80), 0);
  EXPECT_EQ(internet_->server().served(), seen);
}

// And the other way round: with the host's table reduced to NAT, the namespace's own rules keep its
// guest from everything that is not a public address, and from the host's public ones.
TEST_F(EgressRootTest, TheNamespacesRulesHoldWithoutTheHosts) {
  MakeGuest();
  const Slot other = Acquire();
  InSlot(other, []() -> base::Result<> {
    TRY(RunNft(RemoveTable(kInnerTable)));
    return {};
  });
  const auto netns = sys::OpenNetNs(other.netns_name);
  ASSERT_TRUE(netns);
  EchoServer inner(*netns, {kHostPort});
  const SeizedTable seized(options_.prefix + "_net");
  ASSERT_TRUE(
      RunNft("table ip nat {\nchain post {\ntype nat hook postrouting priority srcnat\n"
             "oifname \"wan0\" masquerade\n}\n}\n"));
  ExpectHostReaches("10.212.0.6", kHostPort);
  ExpectReachable("192.0.2.1", 80);
  const int before = internet_->server().served();
  for (const std::string& address : kForbidden) ExpectUnreachable(address, 80);
  ExpectHostReaches("192.0.2.2", kHostPort);
  for (const char* address : {"192.0.2.2", "10.212.0.1", "10.212.0.5", "10.212.0.6"}) {
    ExpectUnreachable(address, kHostPort);
  }
  // The kernel's own reverse path check would do as well; the rules have to do without.
  InSlot(slot_, []() -> base::Result<> {
    TRY(sys::WriteExisting("/proc/sys/net/ipv4/conf/all/rp_filter", "0"));
    return sys::WriteExisting("/proc/sys/net/ipv4/conf/tap0/rp_filter", "0");
  });
  InGuest({"ip", "address", "add", "198.51.100.77/32", "dev", "ens0"});
  EXPECT_NE(FromGuest(Protocol::kUdp, "192.0.2.1", 80, kShort, "198.51.100.77"), 0);
  EXPECT_EQ(internet_->server().served(), before);
  // Nor does anybody come in, although the host would route it.
  EchoServer server(guest_->netns(), {kHostPort});
  for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
    EXPECT_NE(Exchange(host_netns_, protocol, "10.212.0.2", kHostPort, kShort), 0);
  }
  Tool({"ip", "route", "add", std::string(kGuestAddress) + "/32", "via", "10.212.0.2"});
  EXPECT_NE(Exchange(host_netns_, Protocol::kUdp, kGuestAddress, kHostPort, kShort), 0);
  EXPECT_EQ(server.served(), 0);
}

}  // namespace
}  // namespace tinderbox::network
