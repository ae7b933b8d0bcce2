// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/netlink_events.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <span>

#include "base/deadline.h"
#include "sys/message.h"

namespace tinderbox::sys {
namespace {

using base::FailErrno;
using base::Result;

constexpr std::chrono::seconds kAnswerTime{1};

Result<UniqueFd> OpenSocket(int protocol, std::span<const unsigned> groups) {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  if (!fd || bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return FailErrno(errno, "open a netlink socket");
  }
  for (const unsigned group : groups) {
    if (setsockopt(fd.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) != 0) {
      return FailErrno(errno, "subscribe to netlink notifications");
    }
  }
  return fd;
}

// Calls `each` with every message in `data` until it returns true.
bool AnyMessage(std::span<const std::byte> data,
                const std::function<bool(const nlmsghdr& message)>& each) {
  auto* message = reinterpret_cast<const nlmsghdr*>(data.data());
  auto left = static_cast<unsigned>(data.size());
  for (; NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
    if (each(*message)) return true;
  }
  return false;
}

// The payload of the attribute `wanted` that follows a header of `header` bytes.
std::optional<std::span<const std::byte>> Attribute(const nlmsghdr& message, std::size_t header,
                                                    int wanted) {
  const std::size_t begin = NLMSG_LENGTH(NLMSG_ALIGN(header));
  if (message.nlmsg_len < begin) return std::nullopt;
  auto* attribute =
      reinterpret_cast<const rtattr*>(reinterpret_cast<const std::byte*>(&message) + begin);
  auto left = static_cast<int>(message.nlmsg_len - begin);
  for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left)) {
    if ((attribute->rta_type & NLA_TYPE_MASK) != wanted) continue;
    return std::span(static_cast<const std::byte*>(RTA_DATA(attribute)), RTA_PAYLOAD(attribute));
  }
  return std::nullopt;
}

std::optional<std::uint32_t> NetworkWord(const nlmsghdr& message, std::size_t header, int wanted) {
  const auto data = Attribute(message, header, wanted);
  std::uint32_t word = 0;
  if (!data || data->size() != sizeof word) return std::nullopt;
  std::memcpy(&word, data->data(), sizeof word);
  return ntohl(word);
}

}  // namespace

Result<UniqueFd> OpenRouteEvents() {
  constexpr std::array<unsigned, 2> kGroups{RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE};
  return OpenSocket(NETLINK_ROUTE, kGroups);
}

Result<UniqueFd> OpenNftEvents() {
  constexpr std::array<unsigned, 1> kGroups{NFNLGRP_NFTABLES};
  return OpenSocket(NETLINK_NETFILTER, kGroups);
}

Result<bool> DrainEvents(FdRef socket,
                         const std::function<bool(const nlmsghdr& message)>& relevant) {
  alignas(nlmsghdr) std::array<std::byte, 32768> buffer;
  bool found = false;
  for (;;) {
    const ssize_t n = recv(socket.get(), buffer.data(), buffer.size(), MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return found;
    if (n < 0 && errno != ENOBUFS) return FailErrno(errno, "receive netlink notifications");
    const bool lost = n < 0 || static_cast<std::size_t>(n) > buffer.size();
    if (found) continue;
    found = lost || AnyMessage(std::span(buffer).first(static_cast<std::size_t>(n)), relevant);
  }
}

std::optional<Ipv4Prefix> LocalPrefixOf(const nlmsghdr& message) {
  if (message.nlmsg_type == RTM_NEWADDR || message.nlmsg_type == RTM_DELADDR) {
    const auto address = NetworkWord(message, sizeof(ifaddrmsg), IFA_LOCAL);
    if (!address) return std::nullopt;
    return Ipv4Prefix{Ipv4{*address}, 32};
  }
  if (message.nlmsg_type != RTM_NEWROUTE && message.nlmsg_type != RTM_DELROUTE) return std::nullopt;
  if (message.nlmsg_len < NLMSG_LENGTH(sizeof(rtmsg))) return std::nullopt;
  const auto* const route = static_cast<const rtmsg*>(NLMSG_DATA(&message));
  if (route->rtm_type != RTN_LOCAL && route->rtm_type != RTN_BROADCAST) return std::nullopt;
  if (route->rtm_table != RT_TABLE_LOCAL && route->rtm_dst_len != 32) return std::nullopt;
  const auto address = NetworkWord(message, sizeof(rtmsg), RTA_DST);
  return Ipv4Prefix{Ipv4{address.value_or(0)}, route->rtm_dst_len};
}

std::string_view NftTableOf(const nlmsghdr& message) {
  if (NFNL_SUBSYS_ID(message.nlmsg_type) != NFNL_SUBSYS_NFTABLES) return {};
  if (NFNL_MSG_TYPE(message.nlmsg_type) == NFT_MSG_NEWGEN) return {};
  // Chains, rules, sets, elements, objects and flow tables name their table in this attribute, too.
  const auto name = Attribute(message, sizeof(nfgenmsg), NFTA_TABLE_NAME);
  if (!name || name->empty()) return {};
  const auto* const text = reinterpret_cast<const char*>(name->data());
  return {text, strnlen(text, name->size())};
}

Result<UniqueFd> OpenNetfilter() { return OpenSocket(NETLINK_NETFILTER, {}); }

Result<std::uint32_t> NftGeneration(FdRef socket) {
  struct {
    nlmsghdr header{};
    nfgenmsg body{};
  } request;
  static_assert(sizeof request == NLMSG_LENGTH(sizeof(nfgenmsg)));
  request.header.nlmsg_len = sizeof request;
  request.header.nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN;
  request.header.nlmsg_flags = NLM_F_REQUEST;
  request.body.nfgen_family = AF_UNSPEC;
  constexpr char kWhat[] = "read the generation of nftables";
  if (send(socket.get(), &request, sizeof request, 0) != sizeof request) {
    return FailErrno(errno, kWhat);
  }
  alignas(nlmsghdr) std::array<std::byte, 4096> buffer;
  const auto deadline = base::Deadline::After(kAnswerTime);
  for (;;) {
    const auto received = TRY(ReceiveMessage(socket, buffer, deadline));
    std::optional<std::uint32_t> generation;
    int err = 0;
    AnyMessage(std::span(buffer).first(received.size), [&](const nlmsghdr& message) {
      if (message.nlmsg_type == NLMSG_ERROR) {
        err = -static_cast<const nlmsgerr*>(NLMSG_DATA(&message))->error;
      } else if (message.nlmsg_type == (NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN)) {
        generation = NetworkWord(message, sizeof(nfgenmsg), NFTA_GEN_ID);
      }
      return generation.has_value() || err != 0;
    });
    if (err != 0) return FailErrno(err, kWhat);
    if (generation) return *generation;
  }
}

}  // namespace tinderbox::sys
