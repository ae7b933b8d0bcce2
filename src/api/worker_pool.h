// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/error.h"
#include "net/http_message.h"

namespace tinderbox::api {

// Threads for what blocks, so that the loop never does. Bounded in threads and in what may wait:
// beyond that, work is refused instead of queued without end. Threads start as they are needed.
class WorkerPool {
 public:
  WorkerPool(std::string name, std::size_t max_threads, std::size_t max_waiting);
  // Waits for the running work; work that still waits is run first.
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Runs `work` on a thread of the pool and resumes the caller on its own executor with the result.
  // kUnavailable where too much waits already. `work` runs to its end whatever becomes of the
  // caller.

  template <typename Work, typename Value = typename std::invoke_result_t<Work>::value_type>
  net::AsyncResult<Value> Run(Work work) {
    const boost::asio::any_io_executor executor = co_await boost::asio::this_coro::executor;
    co_return co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>,
                                                   void(base::Result<Value>)>(
        [this, executor](auto handler, Work job) {
          // std::function copies; the handler can only be moved.
          auto shared = std::make_shared<decltype(handler)>(std::move(handler));
          auto moved = std::make_shared<Work>(std::move(job));
          const bool taken = Post([shared, moved, executor] {
            auto result = (*moved)();
            boost::asio::post(executor, [shared, result = std::move(result)]() mutable {
              std::move (*shared)(std::move(result));
            });
          });
          if (taken) return;
          boost::asio::post(
              executor, [this, shared] { std::move (*shared)(base::Result<Value>(Refusal())); });
        },
        boost::asio::use_awaitable, std::move(work));
  }

  std::size_t waiting() const;

 private:
  bool Post(std::function<void()> work);
  std::unexpected<base::Error> Refusal() const;
  void Loop();

  const std::string name_;
  const std::size_t max_threads_;
  const std::size_t max_waiting_;
  mutable std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<std::function<void()>> queue_;
  std::size_t idle_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace tinderbox::api
