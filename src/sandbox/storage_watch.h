// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "image/library.h"
#include "sys/fd.h"
#include "vmm/io_events.h"

namespace tinderbox::sandbox {

// Watches free space, and the VMs that ran out of it. One thread for all: it listens to the VMMs'
// events, looks at the file systems every `interval`, lets the pool grow in time, and lets stopped
// VMs continue once there is space again.
//
// The callbacks run on that thread and must not wait for a guest or for an operation on a sandbox.
class StorageWatch {
 public:
  struct Options {
    image::Library& library;  // must outlive it
    // The VM of that sandbox was stopped because a write of its disk found no free space (true), or
    // runs again (false). False if that could not be recorded now: it is called again later.
    std::function<bool(const std::string& id, bool no_space)> on_change;
    // Calls the function if the sandbox is running and nothing else is done to it. Else does
    // nothing.
    std::function<void(const std::string& id, const std::function<void()>&)> if_idle;
    // Called every `interval` with the free space that guests may still take.
    std::function<void(std::uint64_t free_bytes)> on_space;
    std::chrono::milliseconds interval{1000};
  };
  explicit StorageWatch(Options options) : options_(std::move(options)) {}
  ~StorageWatch() { Stop(); }
  StorageWatch(const StorageWatch&) = delete;
  StorageWatch& operator=(const StorageWatch&) = delete;

  base::Result<> Start();
  void Stop();  // idempotent; nothing is called afterwards

  // Listens to `events` of the VM that this sandbox has now, instead of an earlier one. Its end is
  // noticed by itself.
  void Add(const std::string& id, std::unique_ptr<vmm::IoEvents> events);

 private:
  using Clock = std::chrono::steady_clock;
  struct Entry {
    std::unique_ptr<vmm::IoEvents> events;
    std::uint64_t key = 0;  // in epoll: an id may have several VMs in its life
    bool told = false;      // what on_change was told last
    int attempts = 0;       // to continue, since it last ran for a while
    Clock::time_point continued{};
  };

  void Run();
  void ReadFrom(std::uint64_t key);
  void Tick();
  void Tell(const std::string& id, Entry& entry);
  void Continue(const std::string& id, Entry& entry);
  void LookAtSpace();
  void TakeAdded();
  void ListenAgain();

  const Options options_;
  sys::UniqueFd epoll_;
  sys::UniqueFd wake_;  // eventfd
  std::mutex mutex_;    // guards added_
  std::map<std::string, std::unique_ptr<vmm::IoEvents>> added_;
  std::atomic<bool> stopping_ = false;
  // The thread's own.
  std::map<std::string, Entry> entries_;
  std::map<std::uint64_t, std::string> by_key_;
  std::uint64_t next_key_ = 1;
  std::vector<std::uint64_t> unheard_;  // keys that were read from a moment ago
  std::uint64_t free_bytes_ = 0;
  bool refusing_ = false;  // new work, for want of space
  std::thread thread_;
};

}  // namespace tinderbox::sandbox
