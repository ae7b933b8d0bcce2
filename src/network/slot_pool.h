// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/error.h"
#include "sys/fd.h"
#include "sys/netlink_address.h"

// One network namespace per VM: TAP inside, veth to the host, nftables rules inside, all by netlink
// and libnftables, no helper programs.
namespace tinderbox::network {

// The same inside every VM, so that snapshots need no rewriting.
inline constexpr char kGuestAddress[] = "169.254.0.21";
inline constexpr char kGatewayAddress[] = "169.254.0.22";
inline constexpr int kGuestPrefix = 30;
inline constexpr char kGuestMac[] = "02:fc:00:00:00:05";
inline constexpr char kTapName[] = "tap0";

inline constexpr std::size_t kMostPolicyNetworks = 1024;
inline constexpr std::size_t kMostPolicyDns = 16;
// Where the redirected connections of a guest end: a port of the gateway's address. Nothing listens
// there unless somebody does so in the slot's namespace (egress/gateway.h).
inline constexpr std::uint16_t kRedirectPort = 15001;

struct PoolOptions {
  std::string prefix = "tb";  // names of what stands on the host: netns "<prefix>-<n>", veth
                              // "<prefix>v<n>", nftables table "<prefix>_net"; at most 6 characters
  std::string cidr = "10.211.0.0/16";  // of the veth pairs, one /30 each
  std::uint32_t max_slots = 1024;      // at most 16384, and one per /30 of the CIDR
  // For so long a released slot's index is not used again where another is free: connection
  // tracking on the host and the kernel's own clean-up may still know the last tenant.
  std::chrono::milliseconds quarantine{3000};
  uid_t uid_base = 0;  // the TAP of slot n belongs to uid (and gid) uid_base + n
  // So many slots are kept made ahead, with the default policy; 0: none. They count against
  // max_slots only until somebody needs their place.
  std::uint32_t ready = 0;
  // Connections that one guest may have at the same time; 0: its share of the host's connection
  // tracking (ConnectionsPerSlot).
  std::uint32_t connections = 0;
};

// A namespace ready for a VM. Owned by the pool; a value that names it.
struct Slot {
  std::uint32_t index = 0;  // 1..max_slots
  std::string netns_name;
  std::string netns_path;  // /run/netns/<name>, also seen by `ip netns`
  std::string tap;         // kTapName; owned by `uid`
  uid_t uid = 0;
};

// What a guest may reach beyond itself. Private networks, the host, other sandboxes and the clouds'
// metadata are never reachable, whatever stands here.
struct EgressPolicy {
  bool allow_internet = true;  // false: as if `deny` held 0.0.0.0/0
  // Public addresses that are out of reach, and the exceptions from that: `allow` wins. Together at
  // most kMostPolicyNetworks.
  std::vector<sys::Ipv4Prefix> deny{};
  std::vector<sys::Ipv4Prefix> allow{};
  // Which TCP connections of the guest to public addresses end at kRedirectPort instead; sockets of
  // root inside the namespace may then connect to the same ports. kAll also refuses UDP to port 443
  // (QUIC), which would go past it.
  enum class Redirect {
    kNone,
    kDenied,    // those to ports 80 and 443 that `deny` would refuse
    kAll,       // those to ports 80 and 443
    kEveryPort  // to any port, but to the name servers in `dns`
  } redirect = Redirect::kNone;
  // Name servers that are reachable (port 53; TCP 853) whatever `deny` says; public ones alone, at
  // most kMostPolicyDns.
  std::vector<sys::Ipv4> dns{};
  bool operator==(const EgressPolicy&) const = default;
};

// How the rules in force compare with those that the pool put in place.
struct RulesReport {
  // The differences, a sentence each, without its full stop. Empty: no difference.
  std::vector<std::string> host;
  std::vector<std::string> namespaces;
  std::size_t compared = 0;       // namespaces
  std::uint64_t rebuilds = 0;     // how often the host's table had to be rebuilt
  std::string last_rebuild;       // when and why: "2026-01-02T03:04:05Z: it is missing"
  std::uint32_t connections = 0;  // the limit on one guest
};

// Every call may come from any thread that stands in the network namespace in which the pool was
// opened. A thread of the pool makes slots ahead and removes released ones, one at a time and while
// nobody acquires. Destroying the pool finishes the removals that were asked for and removes what
// was made ahead (both for at most some seconds; the next pool's Sweep finds the rest); slots in
// use stay as they are: VMs outlive the daemon.
//
// Another thread of the pool watches the host: it rebuilds the host's table if something changes or
// removes it, and keeps the host's addresses out of reach of every slot as they come and go.
class SlotPool {
 public:
  virtual ~SlotPool() = default;

  // A slot made ahead, which costs microseconds; or, where there is none or `policy` is not the
  // default, a fresh one. The TAP is owned by uid_base + index, its neighbour entry for the guest
  // is permanent. kResourceExhausted when all are in use; where some are just being removed, it
  // waits for them. The lowest index out of quarantine is taken; names that something else holds
  // are passed over, and kAlreadyExists names one where that leaves none. Fails if the host's table
  // is not as it should be and cannot be rebuilt.
  virtual base::Result<Slot> Acquire(const EgressPolicy& policy) = 0;
  // Marks the slot of a VM that outlived the daemon as in use; checks that its namespace is there.
  // kNotFound or kFailedPrecondition where it is not, or not whole; the slot then stays unused.
  // No spare slot is made before the first Sweep or Acquire, so that none is in Adopt's way. The
  // slot keeps the rules that it has until SetPolicy; after Sweep they know the host's addresses.
  virtual base::Result<Slot> Adopt(std::uint32_t index) = 0;
  // Gives the slot back and returns at once; namespace, veth and rules are removed in the
  // background, whatever of them is gone already. Until then, and through its quarantine, nobody
  // gets the index. A removal that fails is logged, and tried again by Sweep or another Release.
  virtual base::Result<> Release(std::uint32_t index) = 0;
  // Replaces the rules of a slot in use by those of `policy`, in one transaction. Tightening also
  // cuts connections that stand, in both directions. kInvalidArgument for too many networks.
  virtual base::Result<> SetPolicy(std::uint32_t index, const EgressPolicy& policy) = 0;
  // Everything on the host that bears our prefix and is neither in use nor made ahead is removed,
  // after the removals that were asked for; what was found is returned in words.
  virtual base::Result<std::vector<std::string>> Sweep() = 0;

  // Compares the rules in force with those that should be. Changes nothing; takes a second at most
  // (with many slots it compares some only).
  virtual RulesReport CheckRules() { return {}; }

  // The namespace of a slot in use, for sockets that shall stand in it.
  virtual base::Result<sys::UniqueFd> Namespace(std::uint32_t index) = 0;

  // A TCP connection to `port` at the guest's address, its socket made inside the slot's namespace.
  // kUnavailable where the guest refuses or is silent until the deadline. Blocking; the descriptor
  // returned is non-blocking and close-on-exec.
  virtual base::Result<sys::UniqueFd> Dial(std::uint32_t index, std::uint16_t port,
                                           base::Deadline deadline) = 0;
};

// Makes the host side ready (IPv4 forwarding, the masquerade rule, the table) and returns the pool.
// Errors carry a remedy (no root, no nftables, CIDR overlaps a route of the host). One pool per
// prefix and /run, in whatever network namespaces: kFailedPrecondition while another process, or
// this one, has it open.
base::Result<std::unique_ptr<SlotPool>> OpenSlotPool(const PoolOptions& options);
// Takes away everything that bears the prefix, the host side included (uninstall); refused while a
// pool of that prefix is open. IPv4 forwarding stays on: whether something else on the host has
// come to rely on it, nobody can tell.
base::Result<> RemoveAll(const PoolOptions& options);

// What on this host may keep sandboxes from the internet although our own rules let them, or
// weakens their isolation, each with its remedy, in sentences for `doctor`: no forwarding, no
// default route, another firewall's DROP policy. Empty: nothing found.
std::vector<std::string> HostWarnings(const PoolOptions& options = {});

}  // namespace tinderbox::network
