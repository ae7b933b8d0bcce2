// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/fresh_thread.h"

#include <fmt/format.h>
#include <linux/close_range.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <exception>
#include <optional>
#include <system_error>
#include <thread>

namespace tinderbox::sys {

base::Result<> OnFreshThread(const std::function<base::Result<>()>& work) {
  base::Result<> result;
  // Signals are for the threads that were made to handle them.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::optional<std::thread> thread;
  int err = 0;
  try {
    thread.emplace([&] {
      try {
        result = work();
      } catch (const std::exception& e) {
        result = base::Fail(base::Code::kInternal, fmt::format("run a thread: {}", e.what()));
      }
    });
  } catch (const std::system_error& e) {
    err = e.code().value();
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (!thread) return base::FailErrno(err, "start a thread");
  thread->join();
  return result;
}

base::Result<> WithFewDescriptors(const std::function<base::Result<>()>& work) {
  return OnFreshThread([&]() -> base::Result<> {
    if (::syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_UNSHARE) != 0) {
      return base::FailErrno(errno, "give a thread descriptors of its own");
    }
    return work();
  });
}

}  // namespace tinderbox::sys
