// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "network/dial.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <deque>
#include <vector>

#include "network/slot_pool.h"
#include "sys/netns.h"

namespace tinderbox::network {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstSilence{10};
constexpr milliseconds kLongestSilence{100};
constexpr std::size_t kMostAttempts = 12;

std::unexpected<base::Error> Unavailable(int err, std::uint16_t port) {
  return std::unexpected(
      base::Error(base::Code::kUnavailable, fmt::format("connect to the guest's port {}", port))
          .WithErrno(err));
}

// A socket of that namespace, its connect under way (or done: poll tells). The thread is needed for
// the making alone; a socket never changes its namespace.
base::Result<sys::UniqueFd> StartConnect(sys::FdRef netns, std::uint16_t port) {
  sys::UniqueFd fd;
  const auto make = [&]() -> base::Result<> {
    fd = sys::UniqueFd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return base::FailErrno(errno, "make a socket in the guest's namespace");
    return {};
  };
  TRY(sys::RunInNetNs(netns, make));
  sockaddr_in guest{};
  guest.sin_family = AF_INET;
  guest.sin_port = htons(port);
  inet_pton(AF_INET, kGuestAddress, &guest.sin_addr);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&guest), sizeof(guest)) != 0 &&
      errno != EINPROGRESS) {
    return Unavailable(errno, port);
  }
  return fd;
}

// The state of a connect that poll(2) reported on: 0 where it succeeded.
int ConnectError(sys::FdRef fd) {
  int err = 0;
  socklen_t size = sizeof(err);
  if (getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &err, &size) != 0) return errno;
  return err;
}

// Waits until one of `attempts` is decided: its index, or the number of attempts when `until` came.
std::size_t AwaitDecision(const std::deque<sys::UniqueFd>& attempts, base::Deadline until) {
  std::vector<pollfd> polls;
  for (const sys::UniqueFd& fd : attempts) polls.push_back({fd.get(), POLLOUT, 0});
  for (;;) {
    const int ready = poll(polls.data(), polls.size(), until.poll_timeout());
    if (ready < 0 && errno == EINTR) continue;
    const auto decided =
        std::find_if(polls.begin(), polls.end(), [](const pollfd& p) { return p.revents != 0; });
    return static_cast<std::size_t>(decided - polls.begin());
  }
}

}  // namespace

base::Result<sys::UniqueFd> DialGuest(sys::FdRef netns, std::uint16_t port,
                                      base::Deadline deadline) {
  std::deque<sys::UniqueFd> attempts;
  milliseconds silence = kFirstSilence;
  do {
    attempts.push_back(TRY(StartConnect(netns, port)));
    if (attempts.size() > kMostAttempts) attempts.pop_front();
    const std::size_t decided =
        AwaitDecision(attempts, base::Deadline::After(silence).Earlier(deadline));
    if (decided < attempts.size()) {
      const int err = ConnectError(attempts[decided]);
      if (err != 0) return Unavailable(err, port);
      return std::move(attempts[decided]);
    }
    silence = std::min(2 * silence, kLongestSilence);
  } while (!deadline.passed());
  return Unavailable(ETIMEDOUT, port);
}

}  // namespace tinderbox::network
