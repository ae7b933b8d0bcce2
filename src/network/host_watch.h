// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "base/error.h"
#include "network/address_plan.h"
#include "sys/fd.h"

namespace tinderbox::network {

// Watches the host's addresses and its nftables table, on a thread of its own in the network
// namespace of the thread that starts it.
class HostWatch {
 public:
  // Called by the watch's thread, one at a time; false asks for another call in some
  // seconds.
  struct Handlers {
    // The host's addresses may have changed, or Poke() was called.
    std::function<bool(const HostWatch& watch)> addresses;
    // The host's table may have changed.
    std::function<bool(const HostWatch& watch)> table;
  };
  // Both are also called once a minute, for what no notification told of. A change after Start()
  // has returned is not missed.
  static base::Result<std::unique_ptr<HostWatch>> Start(const AddressPlan& plan, Handlers handlers);
  // Waits for a handler under way, which should look at stopping() if it does much.
  ~HostWatch();
  HostWatch(const HostWatch&) = delete;
  HostWatch& operator=(const HostWatch&) = delete;

  // Has `addresses` called soon. Any thread.
  void Poke();
  bool stopping() const { return stopping_; }

 private:
  HostWatch(const AddressPlan& plan, Handlers handlers, sys::UniqueFd wake, sys::UniqueFd routes,
            sys::UniqueFd rules);
  void Run();
  // Whether a notification that matters has arrived; a socket that fails is closed.
  bool AddressesChanged();
  bool TableChanged();
  void Wake();

  const AddressPlan plan_;
  const Handlers handlers_;
  const sys::UniqueFd wake_;
  sys::UniqueFd routes_;
  sys::UniqueFd rules_;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> poked_ = false;
  std::thread thread_;  // last: it uses all the rest
};

}  // namespace tinderbox::network
