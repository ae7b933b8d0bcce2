// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <fmt/format.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "agent/boot.h"
#include "agent/guest_address.h"
#include "sys/file.h"

namespace tinderbox::agent {
namespace {

constexpr char kInterface[] = "eth0";

sockaddr Ipv4(const char* address) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  ::inet_pton(AF_INET, address, &in.sin_addr);
  sockaddr out{};
  std::memcpy(&out, &in, sizeof(out));
  return out;
}

ifreq Request(const char* interface) {
  ifreq request{};
  std::strncpy(request.ifr_name, interface, sizeof(request.ifr_name) - 1);
  return request;
}

base::Result<> SetUp(sys::FdRef socket, const char* interface) {
  ifreq request = Request(interface);
  if (::ioctl(socket.get(), SIOCGIFFLAGS, &request) != 0) {
    return base::FailErrno(errno, fmt::format("read flags of interface '{}'", interface));
  }
  request.ifr_flags |= IFF_UP | IFF_RUNNING;
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) {
    return base::FailErrno(errno, fmt::format("bring up interface '{}'", interface));
  }
  return {};
}

base::Result<> SetAddress(sys::FdRef socket) {
  ifreq request = Request(kInterface);
  request.ifr_addr = Ipv4(kGuestAddress);
  if (::ioctl(socket.get(), SIOCSIFADDR, &request) != 0) {
    return base::FailErrno(errno, fmt::format("set address of '{}'", kInterface));
  }
  request.ifr_netmask = Ipv4(kNetmask);
  if (::ioctl(socket.get(), SIOCSIFNETMASK, &request) != 0) {
    return base::FailErrno(errno, fmt::format("set netmask of '{}'", kInterface));
  }
  return {};
}

base::Result<> SetDefaultRoute(sys::FdRef socket) {
  rtentry route{};
  route.rt_dst = Ipv4("0.0.0.0");
  route.rt_genmask = Ipv4("0.0.0.0");
  route.rt_gateway = Ipv4(kGatewayAddress);
  route.rt_flags = RTF_UP | RTF_GATEWAY;
  char device[] = "eth0";
  route.rt_dev = device;
  if (::ioctl(socket.get(), SIOCADDRT, &route) != 0) {
    return base::FailErrno(errno, fmt::format("set default route via {}", kGatewayAddress));
  }
  return {};
}

}  // namespace

base::Result<> BringNetworkUp() {
  const sys::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return base::FailErrno(errno, "make socket");
  TRY(SetUp(socket, "lo"));
  ifreq probe = Request(kInterface);
  // A VM without a network is allowed; nobody can reach the agent then, but the console tells.
  if (::ioctl(socket.get(), SIOCGIFINDEX, &probe) != 0) return {};
  // There is no router to ask for: the solicitations would only wake host and guest.
  (void)sys::WriteExisting(fmt::format("/proc/sys/net/ipv6/conf/{}/disable_ipv6", kInterface), "1");
  TRY(SetAddress(socket));
  TRY(SetUp(socket, kInterface));
  return SetDefaultRoute(socket);
}

}  // namespace tinderbox::agent
