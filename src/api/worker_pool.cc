// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/worker_pool.h"

#include <fmt/format.h>
#include <signal.h>

namespace tinderbox::api {

WorkerPool::WorkerPool(std::string name, std::size_t max_threads, std::size_t max_waiting)
    : name_(std::move(name)), max_threads_(max_threads), max_waiting_(max_waiting) {}

WorkerPool::~WorkerPool() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  ready_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

std::size_t WorkerPool::waiting() const {
  const std::lock_guard lock(mutex_);
  return queue_.size();
}

std::unexpected<base::Error> WorkerPool::Refusal() const {
  return std::unexpected(
      base::Error(base::Code::kUnavailable,
                  fmt::format("too many {} requests wait already ({})", name_, max_waiting_))
          .WithRemedy("Try again in a moment."));
}

bool WorkerPool::Post(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || queue_.size() >= max_waiting_) return false;
    queue_.push_back(std::move(work));
    if (idle_ < queue_.size() && threads_.size() < max_threads_) {
      // Signals are the main thread's: it turns them into an orderly stop.
      sigset_t all, old;
      sigfillset(&all);
      pthread_sigmask(SIG_SETMASK, &all, &old);
      threads_.emplace_back([this] { Loop(); });
      pthread_sigmask(SIG_SETMASK, &old, nullptr);
    }
  }
  ready_.notify_one();
  return true;
}

void WorkerPool::Loop() {
  std::unique_lock lock(mutex_);
  while (true) {
    ++idle_;
    ready_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    --idle_;
    if (queue_.empty()) return;
    std::function<void()> work = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    work();
    work = nullptr;  // its captures die without the lock
    lock.lock();
  }
}

}  // namespace tinderbox::api
