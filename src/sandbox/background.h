// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace tinderbox::sandbox {

// Work that nobody waits for: a few threads, started when there is any. What can wait (checksums)
// has a thread of its own, with the lowest priority for CPU.
class Background {
 public:
  explicit Background(std::size_t max_threads) : max_threads_(max_threads) {}
  ~Background();  // as Stop()

  void Post(std::function<void()> work);
  void PostIdle(std::function<void()> work);
  // Waits for what has begun, drops what has not. Idempotent; nothing is taken afterwards.
  void Stop();

 private:
  struct Lane {
    std::deque<std::function<void()>> queue;
    std::condition_variable ready;
    std::size_t idle = 0;
    std::vector<std::thread> threads;
  };
  void Add(Lane& lane, std::size_t max_threads, bool nice, std::function<void()> work);
  void Loop(Lane& lane, bool nice);

  const std::size_t max_threads_;
  std::mutex mutex_;
  bool stopping_ = false;
  Lane usual_;
  Lane idle_;
};

// Calls work(0) … work(count - 1) on up to `max_threads` threads; returns when all are done.
void InParallel(std::size_t count, std::size_t max_threads,
                const std::function<void(std::size_t)>& work);

}  // namespace tinderbox::sandbox
