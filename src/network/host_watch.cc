// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "network/host_watch.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <utility>

#include "base/deadline.h"
#include "base/log.h"
#include "network/rules.h"
#include "sys/netlink_events.h"

namespace tinderbox::network {
namespace {

using base::Result;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kRoutine{60};
// A handler that failed is called again after twice this, then after twice as long each time.
constexpr std::chrono::seconds kFirstRetry{1};
// Between two calls of one handler: a host may change its rules many times a second.
constexpr std::chrono::milliseconds kPause{50};

// One handler and when it is to be called.
struct Task {
  const std::function<bool(const HostWatch&)>& handler;
  Clock::time_point due = Clock::now() + kRoutine;
  Clock::time_point earliest{};
  std::chrono::seconds retry = kFirstRetry;

  void Ask() { due = std::min(due, std::max(Clock::now(), earliest)); }
  void CallIfDue(const HostWatch& watch) {
    if (Clock::now() < due) return;
    const bool done = handler(watch);
    const auto now = Clock::now();
    retry = done ? kFirstRetry : std::min<std::chrono::seconds>(retry * 2, kRoutine);
    due = now + (done ? kRoutine : retry);
    earliest = now + kPause;
  }
};

// What `drained` says; a socket that cannot be read any more is closed, and the routine calls
// remain.
bool Changed(Result<bool> drained, sys::UniqueFd& socket) {
  if (drained) return *drained;
  base::LogError("network: the host's changes are noticed once a minute only, from now on",
                 {{"error", drained.error().ToString()}});
  socket.Reset();
  return true;
}

}  // namespace

HostWatch::HostWatch(const AddressPlan& plan, Handlers handlers, sys::UniqueFd wake,
                     sys::UniqueFd routes, sys::UniqueFd rules)
    : plan_(plan),
      handlers_(std::move(handlers)),
      wake_(std::move(wake)),
      routes_(std::move(routes)),
      rules_(std::move(rules)) {
  // No signal of the process is for this thread: it starts with all of them blocked.
  sigset_t all, usual;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &usual);
  thread_ = std::thread([this] { Run(); });
  pthread_sigmask(SIG_SETMASK, &usual, nullptr);
}

Result<std::unique_ptr<HostWatch>> HostWatch::Start(const AddressPlan& plan, Handlers handlers) {
  sys::UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return base::FailErrno(errno, "watch the host's network");
  sys::UniqueFd routes = TRY_CTX(sys::OpenRouteEvents(), "watch the host's addresses");
  sys::UniqueFd rules = TRY_CTX(sys::OpenNftEvents(), "watch the host's nftables");
  return std::unique_ptr<HostWatch>(new HostWatch(plan, std::move(handlers), std::move(wake),
                                                  std::move(routes), std::move(rules)));
}

HostWatch::~HostWatch() {
  stopping_ = true;
  Wake();
  thread_.join();
}

void HostWatch::Poke() {
  poked_ = true;
  Wake();
}

void HostWatch::Wake() {
  const std::uint64_t one = 1;
  // It fails only if the counter is at its end: the thread wakes up then, too.
  static_cast<void>(!::write(wake_.get(), &one, sizeof one));
}

bool HostWatch::AddressesChanged() {
  // Slots come and go all the time, and their addresses with them: the rules deny those anyway.
  return Changed(sys::DrainEvents(routes_,
                                  [this](const nlmsghdr& message) {
                                    const auto prefix = sys::LocalPrefixOf(message);
                                    return prefix && !IsDenied(plan_, *prefix);
                                  }),
                 routes_);
}

bool HostWatch::TableChanged() {
  return Changed(sys::DrainEvents(rules_,
                                  [this](const nlmsghdr& message) {
                                    return sys::NftTableOf(message) == plan_.HostTable();
                                  }),
                 rules_);
}

void HostWatch::Run() {
  Task addresses{handlers_.addresses}, table{handlers_.table};
  for (;;) {
    const auto next = base::Deadline::At(std::min(addresses.due, table.due));
    std::array<pollfd, 3> polls{pollfd{wake_.get(), POLLIN, 0}, pollfd{routes_.get(), POLLIN, 0},
                                pollfd{rules_.get(), POLLIN, 0}};
    static_cast<void>(::poll(polls.data(), polls.size(), next.poll_timeout()));
    if (stopping_) return;
    std::uint64_t count = 0;
    if (polls[0].revents != 0) static_cast<void>(!::read(wake_.get(), &count, sizeof count));
    if (poked_.exchange(false)) addresses.Ask();
    if (polls[1].revents != 0 && AddressesChanged()) addresses.Ask();
    if (polls[2].revents != 0 && TableChanged()) table.Ask();
    table.CallIfDue(*this);
    if (stopping_) return;
    addresses.CallIfDue(*this);
  }
}

}  // namespace tinderbox::network
