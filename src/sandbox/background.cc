// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/background.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <utility>

namespace tinderbox::sandbox {

Background::~Background() { Stop(); }

void Background::Post(std::function<void()> work) {
  Add(usual_, max_threads_, false, std::move(work));
}

void Background::PostIdle(std::function<void()> work) { Add(idle_, 1, true, std::move(work)); }

void Background::Add(Lane& lane, std::size_t max_threads, bool nice, std::function<void()> work) {
  const std::lock_guard lock(mutex_);
  if (stopping_) return;
  lane.queue.push_back(std::move(work));
  if (lane.idle < lane.queue.size() && lane.threads.size() < max_threads) {
    lane.threads.emplace_back([this, &lane, nice] { Loop(lane, nice); });
  }
  lane.ready.notify_one();
}

void Background::Loop(Lane& lane, bool nice) {
  // On Linux a nice value belongs to a thread.
  if (nice) ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), 19);
  std::unique_lock lock(mutex_);
  while (true) {
    ++lane.idle;
    lane.ready.wait(lock, [&] { return stopping_ || !lane.queue.empty(); });
    --lane.idle;
    if (stopping_) return;
    const std::function<void()> work = std::move(lane.queue.front());
    lane.queue.pop_front();
    lock.unlock();
    work();
    lock.lock();
  }
}

void Background::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  for (Lane* lane : {&usual_, &idle_}) {
    lane->ready.notify_all();
    for (std::thread& thread : lane->threads) thread.join();
    lane->threads.clear();
  }
}

void InParallel(std::size_t count, std::size_t max_threads,
                const std::function<void(std::size_t)>& work) {
  std::atomic<std::size_t> next = 0;
  const auto loop = [&] {
    for (std::size_t i = next++; i < count; i = next++) work(i);
  };
  std::vector<std::thread> threads;
  for (std::size_t i = 1; i < std::min(count, max_threads); ++i) threads.emplace_back(loop);
  loop();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace tinderbox::sandbox
