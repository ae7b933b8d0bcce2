// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace tinderbox::agent {

// A condition variable for the coroutines of one thread: check the condition, then Wait; nothing
// can come between. A Notify with nobody waiting is lost, as it should be.
class Wakeup {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  explicit Wakeup(const boost::asio::any_io_executor& executor)
      : timer_(executor, TimePoint::max()) {}

  void Notify() { timer_.cancel(); }

  // Returns after the next Notify or at `until`. All who wait at once must name the same time.
  boost::asio::awaitable<void> Wait(TimePoint until = TimePoint::max()) {
    if (timer_.expiry() != until) timer_.expires_at(until);
    boost::system::error_code ignored;
    co_await timer_.async_wait(boost::asio::redirect_error(boost::asio::use_awaitable, ignored));
  }

 private:
  boost::asio::steady_timer timer_;
};

}  // namespace tinderbox::agent
