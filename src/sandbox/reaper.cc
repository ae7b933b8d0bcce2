// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The reaper: one thread that waits for the death of any VM (its warden's pidfd becomes readable)
// and for the end of any sandbox's time.
#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include "base/log.h"
#include "sandbox/context.h"
#include "sandbox/event_record.h"
#include "sandbox/manager_impl.h"
#include "sandbox/teardown.h"
#include "sys/file.h"

namespace tinderbox::sandbox {

using base::Deadline;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::size_t kKeptConsoleBytes = 64 << 10;
constexpr std::int64_t kRetryPauseMs = 10'000;
constexpr std::chrono::minutes kPruneEvents{10};

}  // namespace

Result<> ManagerImpl::StartReaper() {
  epoll_ = sys::UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return FailErrno(errno, "create the reaper's epoll");
  wake_ = sys::UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake_) return FailErrno(errno, "create the reaper's eventfd");
  epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0) {
    return FailErrno(errno, "watch the reaper's eventfd");
  }
  reaper_ = std::thread([this] { RunReaper(); });
  return {};
}

void ManagerImpl::Wake() {
  const std::uint64_t one = 1;
  if (wake_) static_cast<void>(!::write(wake_.get(), &one, sizeof one));
}

// From now on the VM's death is noticed. One-shot and without a pointer to the sandbox: the thread
// looks through all sandboxes when anything has died, which needs no care about lifetimes; deaths
// are rare and the look is a poll of a descriptor each.
void ManagerImpl::Watch(const SandboxPtr& sandbox) {
  const auto vm = sandbox->vm();
  if (!vm) return;
  epoll_event event{.events = EPOLLIN | EPOLLONESHOT, .data = {.ptr = sandbox.get()}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, vm->pidfd().get(), &event) != 0 && errno != EEXIST) {
    base::LogError("cannot watch a VM", {{"sandbox", sandbox->id()}, {"errno", errno}});
  }
  sandbox->no_space = false;
  WatchStorage(*sandbox);
  Wake();
}

void ManagerImpl::RunReaper() {
  while (!stopping_) {
    epoll_event events[16];
    const int timeout = MillisecondsToNextExpiry();
    const int count = ::epoll_wait(epoll_.get(), events, std::size(events), timeout);
    bool death = count == 0;  // a quiet period: look anyway
    for (int i = 0; i < count; ++i) {
      if (events[i].data.ptr != nullptr) death = true;
    }
    std::uint64_t drained = 0;
    static_cast<void>(!::read(wake_.get(), &drained, sizeof drained));
    if (stopping_) return;
    if (death) {
      for (const SandboxPtr& sandbox : All()) BuryIfEnded(sandbox);
    }
    ExpireOverdue();
    PruneEvents();
  }
}

// A running sandbox whose VM has ended becomes dead: its exit and the end of its console are kept,
// all else is freed.
void ManagerImpl::BuryIfEnded(const SandboxPtr& sandbox) {
  const auto vm = sandbox->vm();
  if (!vm) return;
  const auto exit = vm->Wait(Deadline::After(std::chrono::seconds(0)));
  if (!exit) return;  // it lives

  const std::lock_guard operation(sandbox->operation);
  // Someone is ending it already; or it was paused and resumed while we waited, and has another VM.
  if (sandbox->state() != State::kRunning || sandbox->vm() != vm) return;
  TellGone(sandbox->id());
  const std::string console = vm->ConsoleTail(kKeptConsoleBytes).value_or("");
  if (auto kept = sys::WriteFileAtomic(DeadConsoleOf(options_, sandbox->id()), console, 0600);
      !kept) {
    base::LogWarning("the console of a dead sandbox is lost",
                     {{"sandbox", sandbox->id()}, {"error", kept.error().ToString()}});
  }
  store::SandboxRecord record = sandbox->record();
  record.state = StateName(State::kDead);
  record.exit_code = exit->signalled ? 128 + exit->code : exit->code;
  record.exit_detail = DescribeExit(*exit);
  record.cause = fmt::format("the VMM {}", record.exit_detail);
  record.end_at = NowMs();
  const store::EventRecord event = KilledEvent(*sandbox, record, record.cause, true);
  // A sandbox that is paused at the end of its time is meant to last: its disk is kept.
  const bool keep = record.on_timeout == "pause";
  const TeardownOutcome outcome =
      keep ? TeardownLost(options_, record, record.cause) : Teardown(options_, record);
  if (!outcome.lost_entry.empty()) {
    record.cause += fmt::format("; its disk is kept as '{}' in lost+found", outcome.lost_entry);
  }
  sandbox->SetVm(nullptr);
  if (!outcome.result) {
    base::LogError("a dead sandbox left something behind",
                   {{"sandbox", sandbox->id()}, {"error", outcome.result.error().ToString()}});
  }
  if (auto updated = sandbox->Update(options_.store, record, event); !updated) {
    base::LogError("cannot record a death",
                   {{"sandbox", sandbox->id()}, {"error", updated.error().ToString()}});
  }
  base::LogWarning("sandbox died", {{"sandbox", sandbox->id()}, {"exit", record.exit_detail}});
}

// Sandboxes whose time is over are killed or paused; records of the dead go after
// options.keep_dead.
void ManagerImpl::ExpireOverdue() {
  const std::int64_t now = NowMs();
  const std::int64_t keep_ms = std::chrono::milliseconds(options_.keep_dead).count();
  for (const SandboxPtr& sandbox : All()) {
    const auto overdue = [&] {
      const store::SandboxRecord record = sandbox->record();
      if (record.state == StateName(State::kDead)) return record.end_at + keep_ms <= now;
      return record.state == StateName(State::kRunning) && record.end_at != 0 &&
             record.end_at <= now;
    };
    if (!overdue() || sandbox->expiring.exchange(true)) continue;
    background_.Post([this, sandbox] {
      Expire(sandbox);
      sandbox->expiring = false;
    });
  }
}

// On a thread of its own: a pause takes a while, and others may be due.
void ManagerImpl::Expire(const SandboxPtr& sandbox) {
  const auto locked = Lock(sandbox->id());
  if (!locked || locked->sandbox != sandbox) return;
  // Whoever held the operation may have lengthened the time.
  store::SandboxRecord record = sandbox->record();
  const bool dead = sandbox->state() == State::kDead;
  if (!dead &&
      (sandbox->state() != State::kRunning || record.end_at == 0 || record.end_at > NowMs())) {
    return;
  }
  if (!dead && record.on_timeout == "pause") {
    const auto paused = PauseLocked(
        *sandbox, {.mode = PauseModeOf(record.auto_pause_mode), .require_healthy = false});
    if (paused) return;
    base::LogError("cannot pause a sandbox at the end of its time",
                   {{"sandbox", sandbox->id()}, {"error", paused.error().ToString()}});
    // What it holds is not thrown away because a disk is full: it runs on, and is tried again.
    record = sandbox->record();
    record.end_at = NowMs() + kRetryPauseMs;
    static_cast<void>(sandbox->Update(options_.store, record));
    return;
  }
  if (auto killed = KillLocked(*sandbox, "its time was over"); !killed) {
    base::LogError("cannot remove an expired sandbox",
                   {{"sandbox", sandbox->id()}, {"error", killed.error().ToString()}});
  } else {
    base::LogInfo("sandbox reached the end of its time", {{"sandbox", sandbox->id()}});
  }
}

// Now and then, not at every wake-up.
void ManagerImpl::PruneEvents() {
  const auto now = std::chrono::steady_clock::now();
  if (events_pruned_ != decltype(now){} && now - events_pruned_ < kPruneEvents) return;
  events_pruned_ = now;
  const std::int64_t keep_ms = std::chrono::milliseconds(kKeepEvents).count();
  if (auto pruned = options_.store.Events().Prune(NowMs() - keep_ms, kMostEvents); !pruned) {
    base::LogWarning("cannot remove old events", {{"error", pruned.error().ToString()}});
  }
}

int ManagerImpl::MillisecondsToNextExpiry() {
  // Even with nothing due the thread looks every ten seconds: the wall clock may have been set.
  std::int64_t wait = 10'000;
  const std::int64_t now = NowMs();
  for (const SandboxPtr& sandbox : All()) {
    const store::SandboxRecord record = sandbox->record();
    if (record.state != StateName(State::kRunning) || record.end_at == 0) continue;
    // Never less than a little: an overdue sandbox that is busy is looked at again, not spun on.
    wait = std::min(wait, std::max<std::int64_t>(record.end_at - now, 50));
  }
  return static_cast<int>(wait);
}

}  // namespace tinderbox::sandbox
