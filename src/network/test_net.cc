// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "network/test_net.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nftables/libnftables.h>
#include <poll.h>
#include <sched.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/deadline.h"
#include "sys/netlink.h"
#include "sys/netlink_tap.h"
#include "sys/netns.h"

namespace tinderbox::network::testing {
namespace {

using std::chrono::milliseconds;

// Test machinery that fails makes every answer meaningless: stop at once, loudly.
template <typename T>
T Must(base::Result<T> result) {
  if (!result) {
    ADD_FAILURE() << "test machinery: " << result.error().ToString();
    std::abort();
  }
  if constexpr (!std::is_void_v<T>) return std::move(result).value();
}

void MustInside(sys::FdRef netns, const std::function<void()>& work) {
  Must(sys::RunInNetNs(netns, [&]() -> base::Result<> {
    work();
    return {};
  }));
}

sys::UniqueFd SocketIn(sys::FdRef netns, int family, int type) {
  sys::UniqueFd fd;
  MustInside(netns, [&] { fd = sys::UniqueFd(socket(family, type | SOCK_CLOEXEC, 0)); });
  return fd;
}

struct Endpoint {
  sockaddr_storage storage{};
  socklen_t size = 0;
  int family = AF_INET;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

Endpoint MakeEndpoint(const std::string& address, std::uint16_t port) {
  Endpoint endpoint;
  if (address.find(':') == std::string::npos) {
    auto* const in = reinterpret_cast<sockaddr_in*>(&endpoint.storage);
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    inet_pton(AF_INET, address.c_str(), &in->sin_addr);
    endpoint.size = sizeof(*in);
  } else {
    auto* const in = reinterpret_cast<sockaddr_in6*>(&endpoint.storage);
    in->sin6_family = AF_INET6;
    in->sin6_port = htons(port);
    inet_pton(AF_INET6, address.c_str(), &in->sin6_addr);
    endpoint.size = sizeof(*in);
    endpoint.family = AF_INET6;
  }
  return endpoint;
}

// A guest's interface: a TAP of our own that lives as long as its descriptor.
sys::UniqueFd MakeGuestTap() {
  sys::UniqueFd fd(open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK));
  ifreq request{};
  std::strcpy(request.ifr_name, "ens0");
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (!fd || ioctl(fd.get(), TUNSETIFF, &request) != 0) std::abort();
  return fd;
}

// Waits until the kernel has put `link` to work: a link that gets its carrier drops what is sent
// before a worker of the kernel has activated its queue, and a lost SYN costs a whole second.
void AwaitRunning(sys::FdRef netns, const char* link) {
  const sys::UniqueFd fd = SocketIn(netns, AF_INET, SOCK_DGRAM);
  ifreq request{};
  std::strcpy(request.ifr_name, link);
  for (int i = 0; i < 2000; ++i) {
    if (ioctl(fd.get(), SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_RUNNING) != 0) {
      return;
    }
    std::this_thread::sleep_for(milliseconds(1));
  }
  ADD_FAILURE() << "test machinery: link " << link << " never runs";
}

}  // namespace

std::string UniquePrefix() {
  std::string prefix = "n";
  for (int rest = getpid(); rest > 0 && prefix.size() < 6; rest /= 36) {
    prefix += "0123456789abcdefghijklmnopqrstuvwxyz"[rest % 36];
  }
  return prefix;
}

PlayedHost::PlayedHost() : home_(Must(sys::CurrentNetNs())) {
  if (unshare(CLONE_NEWNET) != 0) std::abort();
  Must(Must(sys::RouteSocket::Open()).SetUp("lo"));
}
PlayedHost::~PlayedHost() {
  if (setns(home_.get(), CLONE_NEWNET) != 0) std::abort();
}

std::string Tool(const std::vector<std::string>& argv) {
  std::vector<char*> raw;
  for (const std::string& argument : argv) raw.push_back(const_cast<char*>(argument.c_str()));
  raw.push_back(nullptr);
  int out[2];
  if (pipe2(out, O_CLOEXEC) != 0) std::abort();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  pid_t pid = -1;
  const int err = posix_spawnp(&pid, raw[0], &actions, nullptr, raw.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(out[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n = 0; (n = read(out[0], buffer, sizeof(buffer))) > 0;) text.append(buffer, n);
  close(out[0]);
  int status = -1;
  if (err == 0) waitpid(pid, &status, 0);
  EXPECT_EQ(status, 0) << "command: " << argv[0] << " " << (argv.size() > 1 ? argv[1] : "");
  while (text.ends_with('\n')) text.pop_back();
  return text;
}

SeizedTable::SeizedTable(const std::string& table) {
  int hold[2], ready[2];
  if (pipe2(hold, O_CLOEXEC) != 0 || pipe2(ready, O_CLOEXEC) != 0) std::abort();
  const std::string commands = fmt::format(
      "table inet {0} {{}}\ndelete table inet {0}\nadd table inet {0} {{ flags owner; }}\n", table);
  owner_ = fork();
  if (owner_ < 0) std::abort();
  if (owner_ == 0) {
    // Nothing else of this process, above all no lock, is to live on here.
    if (dup2(hold[0], 3) != 3 || dup2(ready[1], 4) != 4) _exit(2);
    close_range(5, ~0u, 0);
    nft_ctx* const nft = nft_ctx_new(NFT_CTX_DEFAULT);
    char byte = nft != nullptr && nft_run_cmd_from_buffer(nft, commands.c_str()) == 0 ? '1' : '0';
    if (write(4, &byte, 1) == 1) (void)!read(3, &byte, 1);
    _exit(0);
  }
  close(hold[0]);
  close(ready[1]);
  hold_.Reset(hold[1]);
  char byte = '0';
  if (read(ready[0], &byte, 1) != 1 || byte != '1') ADD_FAILURE() << "seize table " << table;
  close(ready[0]);
}

SeizedTable::~SeizedTable() {
  hold_.Reset();
  waitpid(owner_, nullptr, 0);
}

int InChild(const std::function<int()>& work) {
  const pid_t pid = fork();
  if (pid < 0) std::abort();
  if (pid == 0) _exit(work());
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

EchoServer::EchoServer(sys::FdRef netns, std::vector<std::uint16_t> ports, int family)
    : stop_(eventfd(0, EFD_CLOEXEC)) {
  for (const std::uint16_t port : ports) {
    for (const int type : {SOCK_STREAM, SOCK_DGRAM}) {
      sys::UniqueFd fd = SocketIn(netns, family, type);
      const int on = 1;
      setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
      if (family == AF_INET6) setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
      if (family == AF_INET) setsockopt(fd.get(), IPPROTO_IP, IP_PKTINFO, &on, sizeof(on));
      const Endpoint any = MakeEndpoint(family == AF_INET ? "0.0.0.0" : "::", port);
      if (bind(fd.get(), any.get(), any.size) != 0) std::abort();
      if (type == SOCK_STREAM && listen(fd.get(), 64) != 0) std::abort();
      sockets_.push_back(std::move(fd));
      is_tcp_.push_back(type == SOCK_STREAM);
    }
  }
  thread_ = std::thread([this] { Serve(); });
}

EchoServer::~EchoServer() {
  const std::uint64_t one = 1;
  if (write(stop_.get(), &one, sizeof(one)) < 0) std::abort();
  thread_.join();
}

std::string EchoServer::last_peer() const { return sys::Ipv4{last_peer_}.ToString(); }

void EchoServer::Serve() {
  std::vector<pollfd> polls{{stop_.get(), POLLIN, 0}};
  for (const sys::UniqueFd& fd : sockets_) polls.push_back({fd.get(), POLLIN, 0});
  while (poll(polls.data(), polls.size(), -1) >= 0 || errno == EINTR) {
    if (polls[0].revents != 0) return;
    for (std::size_t i = 1; i < polls.size(); ++i) {
      if (polls[i].revents == 0) continue;
      is_tcp_[i - 1] ? ServeTcp(polls[i].fd) : ServeUdp(polls[i].fd);
    }
  }
}

void EchoServer::ServeTcp(int listener) {
  sockaddr_in peer{};
  socklen_t size = sizeof(peer);
  const sys::UniqueFd fd(
      accept4(listener, reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC));
  if (!fd) return;
  ++served_;
  if (peer.sin_family == AF_INET) last_peer_ = ntohl(peer.sin_addr.s_addr);
  int segment = 0;
  socklen_t segment_size = sizeof(segment);
  if (getsockopt(fd.get(), IPPROTO_TCP, TCP_MAXSEG, &segment, &segment_size) == 0) {
    last_segment_size_ = segment;
  }
  const timeval patience{.tv_sec = 1, .tv_usec = 0};
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  char buffer[256] = "echo:";
  const ssize_t n = read(fd.get(), buffer + 5, sizeof(buffer) - 5);
  if (n > 0) (void)!write(fd.get(), buffer, static_cast<std::size_t>(n) + 5);
}

void EchoServer::ServeUdp(int socket) {
  sockaddr_storage peer{};
  char buffer[256] = "echo:";
  iovec part{buffer + 5, sizeof(buffer) - 5};
  alignas(cmsghdr) char control[128];
  msghdr message{.msg_name = &peer,
                 .msg_namelen = sizeof(peer),
                 .msg_iov = &part,
                 .msg_iovlen = 1,
                 .msg_control = control,
                 .msg_controllen = sizeof(control),
                 .msg_flags = 0};
  const ssize_t n = recvmsg(socket, &message, MSG_DONTWAIT);
  if (n < 0) return;
  ++served_;
  if (peer.ss_family == AF_INET) {
    last_peer_ = ntohl(reinterpret_cast<sockaddr_in*>(&peer)->sin_addr.s_addr);
  }
  // The control data says which address was asked; sent back with it, the answer comes from there.
  // The interface is for the routes to choose.
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
      auto* const info = reinterpret_cast<in_pktinfo*>(CMSG_DATA(c));
      info->ipi_ifindex = 0;
      info->ipi_spec_dst = info->ipi_addr;
    }
  }
  part = {buffer, static_cast<std::size_t>(n) + 5};
  sendmsg(socket, &message, 0);
}

Internet::Internet() : netns_(Must(sys::NewNetNs())) {
  Must(Must(sys::RouteSocket::Open())
           .AddVeth({.name = "wan0",
                     .mac = {2, 0, 0, 0, 0, 1},
                     .peer_name = "inet0",
                     .peer_mac = {2, 0, 0, 0, 0, 2},
                     .peer_netns = netns_}));
  Tool({"ip", "address", "add", "192.0.2.2/24", "dev", "wan0"});
  Tool({"ip", "address", "add", "2001:db8::2/64", "dev", "wan0", "nodad"});
  Tool({"ip", "link", "set", "wan0", "up"});
  MustInside(netns_, [] {
    Tool({"ip", "link", "set", "lo", "up"});
    Tool({"ip", "link", "set", "inet0", "up"});
    Tool({"ip", "address", "add", "192.0.2.1/24", "dev", "inet0"});
    Tool({"ip", "address", "add", "2001:db8::1/64", "dev", "inet0", "nodad"});
    // The denied ones are served here as well, so that only the rules can be why they fail.
    for (const char* address :
         {"198.51.100.1", "203.0.113.1", "10.99.0.1", "172.16.5.1", "192.168.7.1", "100.64.0.9",
          "169.254.169.254", "198.18.0.1", "240.0.0.1", "0.1.2.3"}) {
      Tool({"ip", "route", "add", "local", std::string(address) + "/32", "dev", "lo"});
    }
    // Answers to anybody come back to the host, so that a leak of private sources would be seen.
    Tool({"ip", "route", "add", "default", "via", "192.0.2.2"});
  });
  Tool({"ip", "route", "add", "default", "via", "192.0.2.1"});
  server_ = std::make_unique<EchoServer>(netns_, std::vector<std::uint16_t>{80, 53});
  server6_ = std::make_unique<EchoServer>(netns_, std::vector<std::uint16_t>{8080}, AF_INET6);
}

Guest::Guest(const Slot& slot) : Guest(slot, Must(sys::NewNetNs())) {}
Guest::Guest(const Slot& slot, sys::UniqueFd netns)
    : netns_(std::move(netns)), stop_(eventfd(0, EFD_CLOEXEC)) {
  const sys::UniqueFd outer = Must(sys::OpenNetNs(slot.netns_name));
  MustInside(outer, [&] { slot_tap_ = Must(sys::OpenTap(slot.tap)); });
  MustInside(netns_, [&] {
    guest_tap_ = MakeGuestTap();
    auto route = Must(sys::RouteSocket::Open());
    Must(route.SetUp("lo"));
    Must(route.SetMac("ens0", Must(sys::ParseMac(kGuestMac))));
    Must(route.AddAddress("ens0", {Must(sys::Ipv4::Parse(kGuestAddress)), kGuestPrefix}));
    Must(route.SetUp("ens0"));
    Must(route.AddRoute({sys::Ipv4{0}, 0}, Must(sys::Ipv4::Parse(kGatewayAddress)), "ens0"));
  });
  thread_ = std::thread([this] { Pump(); });
  AwaitRunning(outer, "tap0");
  AwaitRunning(outer, "eth0");
  AwaitRunning(netns_, "ens0");
}

Guest::~Guest() {
  const std::uint64_t one = 1;
  if (write(stop_.get(), &one, sizeof(one)) < 0) std::abort();
  thread_.join();
}

void Guest::Pump() {
  pollfd polls[] = {
      {stop_.get(), POLLIN, 0}, {slot_tap_.get(), POLLIN, 0}, {guest_tap_.get(), POLLIN, 0}};
  char frame[65536];
  while (poll(polls, 3, -1) >= 0 || errno == EINTR) {
    if (polls[0].revents != 0) return;
    for (int i = 1; i <= 2; ++i) {
      if (polls[i].revents == 0) continue;
      const ssize_t n = read(polls[i].fd, frame, sizeof(frame));
      if (n > 0) (void)!write(polls[3 - i].fd, frame, static_cast<std::size_t>(n));
    }
  }
}

int Exchange(sys::FdRef netns, Protocol protocol, const std::string& address, std::uint16_t port,
             milliseconds patience, const std::string& source) {
  const auto deadline = base::Deadline::After(patience);
  const Endpoint to = MakeEndpoint(address, port);
  const int type = protocol == Protocol::kTcp ? SOCK_STREAM : SOCK_DGRAM;
  const sys::UniqueFd fd = SocketIn(netns, to.family, type | SOCK_NONBLOCK);
  if (!source.empty()) {
    const Endpoint from = MakeEndpoint(source, 0);
    if (bind(fd.get(), from.get(), from.size) != 0) return errno;
  }
  if (connect(fd.get(), to.get(), to.size) != 0 && errno != EINPROGRESS) return errno;
  pollfd polled{fd.get(), POLLOUT, 0};
  if (poll(&polled, 1, deadline.poll_timeout()) <= 0) return ETIMEDOUT;
  if (send(fd.get(), "ping", 4, MSG_NOSIGNAL) < 0) return errno;
  polled.events = POLLIN;
  if (poll(&polled, 1, deadline.poll_timeout()) <= 0) return ETIMEDOUT;
  char answer[64];
  const ssize_t n = recv(fd.get(), answer, sizeof(answer), 0);
  if (n < 0) return errno;
  return std::string_view(answer, static_cast<std::size_t>(n)) == "echo:ping" ? 0 : EPROTO;
}

}  // namespace tinderbox::network::testing
