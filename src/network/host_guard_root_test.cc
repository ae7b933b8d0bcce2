// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0

// Guests cannot reach the host even if other programs change its firewall and addresses, as
// `nft flush ruleset`, Docker and DHCP do.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "network/nftables.h"
#include "network/pool_fixture.h"
#include "network/rules.h"
#include "network/table_guard.h"
#include "network/test_net.h"
#include "sys/netns.h"

namespace tinderbox::network {
namespace {

using base::Deadline;
using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::EchoServer;
using testing::Exchange;
using testing::Guest;
using ::testing::HasSubstr;
using testing::Internet;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::PoolTest;
using testing::Protocol;
using testing::SeizedTable;
using ::testing::SizeIs;
using testing::Tool;

constexpr milliseconds kLong{3000};  // for what must work, on a busy machine too
constexpr milliseconds kShort{200};  // for what must not
constexpr std::uint16_t kHostPort = 7777;
constexpr char kExtra[] = "203.0.113.77";

class HostGuardRootTest : public PoolTest {
 protected:
  void SetUp() override {
    // First, so that the pool knows the host's address from the beginning.
    internet_ = std::make_unique<Internet>();
    Open();
    host_netns_ = sys::CurrentNetNs().value();
    host_server_ = std::make_unique<EchoServer>(host_netns_, std::vector{kHostPort});
  }
  std::string Table() const { return options_.prefix + "_net"; }
  // NAT alone, as an administrator might have it.
  static void MasqueradeOtherwise() {
    ASSERT_TRUE(
        RunNft("table ip nat {\nchain post {\ntype nat hook postrouting priority srcnat\n"
               "oifname \"wan0\" masquerade\n}\n}\n"));
  }
  int FromGuest(Guest& guest, const std::string& address, std::uint16_t port,
                milliseconds patience = kShort) {
    return Exchange(guest.netns(), Protocol::kTcp, address, port, patience);
  }
  void ExpectHostOutOfReach(Guest& guest, const std::string& address) {
    EXPECT_EQ(Exchange(host_netns_, Protocol::kTcp, address, kHostPort, kLong), 0);
    const int served = host_server_->served();
    for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp}) {
      EXPECT_NE(Exchange(guest.netns(), protocol, address, kHostPort, kShort), 0) << address;
    }
    EXPECT_EQ(host_server_->served(), served) << address;
  }
  static bool Eventually(const std::function<bool()>& holds) {
    for (const auto deadline = Deadline::After(seconds(20)); !deadline.passed();) {
      if (holds()) return true;
      std::this_thread::sleep_for(milliseconds(5));
    }
    return false;
  }
  std::string SlotTable(const Slot& slot) {
    const auto netns = sys::OpenNetNs(slot.netns_name);
    std::string table;
    const auto listed = sys::RunInNetNs(netns.value(), [&]() -> base::Result<> {
      table = TRY(ListTable(kInnerTable));
      return {};
    });
    EXPECT_TRUE(listed);
    return table;
  }

  std::unique_ptr<Internet> internet_;
  sys::UniqueFd host_netns_;
  std::unique_ptr<EchoServer> host_server_;
};

TEST_F(HostGuardRootTest, TheHostStaysOutOfReachWithoutItsTable) {
  const Slot slot = Acquire();
  Guest guest(slot);
  const SeizedTable seized(Table());
  MasqueradeOtherwise();
  EXPECT_EQ(FromGuest(guest, "192.0.2.1", 80, kLong), 0) << "the host forwards";
  ExpectHostOutOfReach(guest, "192.0.2.2");
}

TEST_F(HostGuardRootTest, SoDoAddressesThatItGetsLater) {
  const Slot slot = Acquire();
  const Slot denied = Acquire({.allow_internet = false});
  Guest guest(slot);
  const SeizedTable seized(Table());
  MasqueradeOtherwise();
  Tool({"ip", "address", "add", std::string(kExtra) + "/32", "dev", "lo"});
  for (const Slot& each : {slot, denied}) {
    EXPECT_TRUE(Eventually([&] { return SlotTable(each).contains(kExtra); }));
  }
  ExpectHostOutOfReach(guest, kExtra);
  ExpectHostOutOfReach(guest, "192.0.2.2");
  // Not for ever: the address may be another machine's later.
  Tool({"ip", "address", "del", std::string(kExtra) + "/32", "dev", "lo"});
  EXPECT_TRUE(Eventually([&] { return !SlotTable(slot).contains(kExtra); }));
  EXPECT_TRUE(SlotTable(slot).contains("192.0.2.2"));
}

TEST_F(HostGuardRootTest, NewPoliciesAndNewSlotsKnowTheHost) {
  Tool({"ip", "address", "add", std::string(kExtra) + "/32", "dev", "lo"});
  const Slot early = Acquire();
  ASSERT_TRUE(pool_->SetPolicy(early.index, {.redirect = EgressPolicy::Redirect::kAll}));
  EXPECT_TRUE(Eventually([&] { return SlotTable(early).contains(kExtra); }));
  const Slot late = Acquire();
  EXPECT_TRUE(SlotTable(late).contains(kExtra)) << "from its first moment";
}

TEST_F(HostGuardRootTest, AnAdoptedSlotLearnsWhatChangedMeanwhile) {
  const Slot slot = Acquire();
  Guest guest(slot);
  pool_.reset();
  Tool({"ip", "address", "add", std::string(kExtra) + "/32", "dev", "lo"});
  Open();
  ASSERT_TRUE(pool_->Adopt(slot.index));
  ASSERT_TRUE(pool_->Sweep());
  EXPECT_TRUE(Eventually([&] { return SlotTable(slot).contains(kExtra); }));
  ExpectHostOutOfReach(guest, kExtra);
  // The same policy once more replaces nothing.
  const auto handles = [&] {
    return Tool({"ip", "netns", "exec", slot.netns_name, "nft", "-a", "list", "table", "inet",
                 kInnerTable});
  };
  const std::string before = handles();
  ASSERT_TRUE(pool_->SetPolicy(slot.index, {}));
  EXPECT_EQ(handles(), before);
  EXPECT_THAT(pool_->CheckRules().namespaces, IsEmpty());
}

// An earlier release's rules, which know no addresses of the host, and a slot that lost its rules.
TEST_F(HostGuardRootTest, ThePolicyOfAnAdoptedSlotRenewsItsRules) {
  const Slot slot = Acquire();
  pool_.reset();
  Tool({"ip", "netns", "exec", slot.netns_name, "nft", "delete", "table", "inet", kInnerTable});
  Open();
  ASSERT_TRUE(pool_->Adopt(slot.index));
  ASSERT_TRUE(pool_->SetPolicy(slot.index, {}));
  EXPECT_THAT(SlotTable(slot), HasSubstr("192.0.2.2"));
  EXPECT_TRUE(Eventually([&] { return pool_->CheckRules().namespaces.empty(); }));
}

TEST_F(HostGuardRootTest, WhateverRemovesOrChangesTheTableIsUndone) {
  const Slot slot = Acquire();
  Guest guest(slot);
  const std::string right = ListTable(Table()).value();
  ASSERT_THAT(right, HasSubstr("masquerade"));
  std::uint64_t rebuilds = 0;
  for (const std::string& harm :
       {std::string("flush ruleset"), "delete table inet " + Table(),
        "flush chain inet " + Table() + " input", "delete chain inet " + Table() + " input",
        "insert rule inet " + Table() + " input accept",
        "delete element inet " + Table() + " denied { 10.0.0.0/8 }",
        "add chain inet " + Table() + " input { policy drop; }"}) {
    Tool({"nft", harm});
    EXPECT_TRUE(Eventually([&] { return ListTable(Table()).value() == right; })) << harm;
    EXPECT_TRUE(Eventually([&] { return pool_->CheckRules().rebuilds > rebuilds; })) << harm;
    rebuilds = pool_->CheckRules().rebuilds;
    EXPECT_THAT(pool_->CheckRules().last_rebuild, Not(IsEmpty()));
  }
  EXPECT_THAT(pool_->CheckRules().host, IsEmpty());
  EXPECT_EQ(FromGuest(guest, "192.0.2.1", 80, kLong), 0) << "it forwards and masquerades again";
  ExpectHostOutOfReach(guest, "192.0.2.2");
}

TEST_F(HostGuardRootTest, OtherTablesAreTheirOwnersBusiness) {
  const Slot slot = Acquire();
  for (int i = 0; i < 20; ++i) {
    Tool({"nft", "add table inet other; add chain inet other c; delete table inet other"});
  }
  Acquire();
  const RulesReport report = pool_->CheckRules();
  EXPECT_EQ(report.rebuilds, 0u) << report.last_rebuild;
  EXPECT_THAT(report.host, IsEmpty());
  EXPECT_EQ(report.compared, 2u);
}

TEST_F(HostGuardRootTest, NoSlotIsGivenOutWithoutTheHostsTable) {
  {
    const SeizedTable seized(Table());
    const auto slot = pool_->Acquire({});
    ASSERT_FALSE(slot);
    EXPECT_THAT(slot.error().message(), HasSubstr(Table()));
    EXPECT_THAT(slot.error().remedy(), Not(IsEmpty()));
    EXPECT_THAT(pool_->CheckRules().host, SizeIs(1));
  }
  // Its owner is gone, and it with him.
  EXPECT_TRUE(pool_->Acquire({}));
  EXPECT_THAT(pool_->CheckRules().host, IsEmpty());
}

TEST_F(HostGuardRootTest, DifferencesInANamespaceAreNamed) {
  const Slot slot = Acquire();
  const Slot other = Acquire();
  EXPECT_EQ(pool_->CheckRules().compared, 2u);
  EXPECT_THAT(pool_->CheckRules().namespaces, IsEmpty());
  Tool({"ip", "netns", "exec", slot.netns_name, "nft", "flush", "chain", "inet", kInnerTable,
        "forward"});
  const RulesReport report = pool_->CheckRules();
  ASSERT_THAT(report.namespaces, SizeIs(1));
  EXPECT_THAT(report.namespaces[0], HasSubstr(slot.netns_name));
  EXPECT_THAT(report.namespaces[0], HasSubstr("it lacks '"));
}

TEST_F(HostGuardRootTest, AGuestHasItsShareOfConnectionsAndNoMore) {
  pool_.reset();
  options_.connections = 20;
  Open();
  EXPECT_EQ(pool_->CheckRules().connections, 20u);
  const Slot slot = Acquire();
  EXPECT_THAT(SlotTable(slot), HasSubstr("ct count over 20 "));
}

}  // namespace
}  // namespace tinderbox::network
