// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/storage_watch.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/log.h"

namespace tinderbox::sandbox {

using base::FailErrno;
using base::Result;

namespace {

// Free bytes that a stopped VM needs to continue. With fewer it would stop again at once.
constexpr std::uint64_t kRoomToContinue = 64ull << 20;
// A VM that stops again at once is tried less and less often.
constexpr std::chrono::seconds kLongestWait{32};
constexpr std::chrono::seconds kRanForAWhile{10};
constexpr std::chrono::milliseconds kBetweenReads{50};

}  // namespace

Result<> StorageWatch::Start() {
  epoll_ = sys::UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  wake_ = sys::UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll_ || !wake_) return FailErrno(errno, "watch storage: make descriptors");
  epoll_event event{.events = EPOLLIN, .data = {.u64 = 0}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0)
    return FailErrno(errno, "watch storage: add the eventfd");
  thread_ = std::thread([this] { Run(); });
  return {};
}

void StorageWatch::Stop() {
  stopping_ = true;
  if (wake_) static_cast<void>(::eventfd_write(wake_.get(), 1));
  if (thread_.joinable()) thread_.join();
}

void StorageWatch::Add(const std::string& id, std::unique_ptr<vmm::IoEvents> events) {
  {
    const std::lock_guard lock(mutex_);
    added_[id] = std::move(events);
  }
  if (wake_) static_cast<void>(::eventfd_write(wake_.get(), 1));
}

void StorageWatch::TakeAdded() {
  std::map<std::string, std::unique_ptr<vmm::IoEvents>> added;
  {
    const std::lock_guard lock(mutex_);
    added.swap(added_);
  }
  for (auto& [id, events] : added) {
    if (const auto old = entries_.find(id); old != entries_.end()) by_key_.erase(old->second.key);
    const std::uint64_t key = next_key_++;
    epoll_event event{.events = EPOLLIN | EPOLLONESHOT, .data = {.u64 = key}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, events->fd().get(), &event) != 0) {
      base::LogError("cannot watch a VM's disk", {{"sandbox", id}, {"errno", errno}});
      continue;
    }
    by_key_[key] = id;
    entries_[id] = Entry{.events = std::move(events), .key = key};
  }
}

void StorageWatch::Run() {
  auto next = Clock::now();
  while (!stopping_) {
    auto wait = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now());
    if (!unheard_.empty()) wait = std::min(wait, kBetweenReads);
    epoll_event events[16];
    const int count = ::epoll_wait(epoll_.get(), events, std::size(events),
                                   static_cast<int>(std::max<std::int64_t>(wait.count(), 0)));
    eventfd_t drained = 0;
    static_cast<void>(::eventfd_read(wake_.get(), &drained));
    if (stopping_) return;
    TakeAdded();
    if (count == 0) ListenAgain();
    for (int i = 0; i < count; ++i) {
      if (events[i].data.u64 != 0) ReadFrom(events[i].data.u64);
    }
    if (Clock::now() < next) continue;
    ListenAgain();
    Tick();
    next = Clock::now() + options_.interval;
  }
}

void StorageWatch::ReadFrom(std::uint64_t key) {
  const auto known = by_key_.find(key);
  if (known == by_key_.end()) return;
  const std::string id = known->second;
  Entry& entry = entries_.at(id);
  if (auto read = entry.events->Read(); !read) {
    if (read.error().code() != base::Code::kUnavailable) {
      base::LogWarning("a VM's disk is not watched any more",
                       {{"sandbox", id}, {"error", read.error().ToString()}});
    }
    by_key_.erase(known);
    entries_.erase(id);
    return;
  }
  Tell(id, entry);
  unheard_.push_back(key);
}

// Only now: a VMM that sends without end is read a bounded amount per kBetweenReads.
void StorageWatch::ListenAgain() {
  for (const std::uint64_t key : std::exchange(unheard_, {})) {
    const auto known = by_key_.find(key);
    if (known == by_key_.end()) continue;
    epoll_event event{.events = EPOLLIN | EPOLLONESHOT, .data = {.u64 = key}};
    const int fd = entries_.at(known->second).events->fd().get();
    static_cast<void>(::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event));
  }
}

void StorageWatch::Tell(const std::string& id, Entry& entry) {
  const bool no_space = entry.events->no_room();
  if (entry.told == no_space) return;
  if (options_.on_change(id, no_space)) entry.told = no_space;
}

void StorageWatch::Tick() {
  LookAtSpace();
  if (options_.on_space) options_.on_space(free_bytes_);
  for (auto& [id, entry] : entries_) {
    Tell(id, entry);
    Continue(id, entry);
  }
}

void StorageWatch::LookAtSpace() {
  // Lets the pool's image grow before those who run need it.
  const auto room = options_.library.EnsureRoom(0);
  if (room.has_value() == refusing_) {
    refusing_ = !room;
    if (refusing_) {
      base::LogWarning("free space is low: new work is refused",
                       {{"error", room.error().ToString()}});
    } else {
      base::LogInfo("there is free space again: new work is accepted", {});
    }
  }
  const auto space = options_.library.PoolSpace();
  free_bytes_ = space ? space->free_bytes : 0;
}

void StorageWatch::Continue(const std::string& id, Entry& entry) {
  const auto now = Clock::now();
  if (!entry.events->no_room()) {
    if (entry.attempts > 0 && now - entry.continued > kRanForAWhile) entry.attempts = 0;
    return;
  }
  if (free_bytes_ < kRoomToContinue) return;
  const std::chrono::seconds wait(1 << std::min(entry.attempts, 5));
  if (entry.attempts > 0 && now - entry.continued < std::min(wait, kLongestWait)) return;
  // Not in the middle of a pause or a snapshot.
  options_.if_idle(id, [&] {
    ++entry.attempts;
    entry.continued = now;
    if (auto sent = entry.events->Continue(); !sent) {
      base::LogWarning("cannot let a VM continue",
                       {{"sandbox", id}, {"error", sent.error().ToString()}});
    }
  });
}

}  // namespace tinderbox::sandbox
