// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/freeze.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <cerrno>

#include "base/deadline.h"
#include "base/log.h"

namespace tinderbox::agent {

Freeze::Freeze(const boost::asio::any_io_executor& executor, std::string path,
               std::chrono::milliseconds longest)
    : executor_(executor), path_(std::move(path)), longest_(longest), changed_(executor) {}

Freeze::~Freeze() {
  if (!holder_.joinable()) return;
  (void)!::eventfd_write(end_.get(), 1);
  holder_.join();
}

net::AsyncResult<> Freeze::Begin() {
  if (path_.empty()) {
    co_return base::Fail(base::Code::kFailedPrecondition,
                         "freeze: the agent is not process 1 of a VM");
  }
  if (stage_ == Stage::kThawed) {
    end_.Reset(::eventfd(0, EFD_CLOEXEC));
    if (!end_) co_return base::FailErrno(errno, "freeze: make eventfd");
    error_ = 0;
    stage_ = Stage::kFreezing;
    // Signals are the loop's: a thread that took one could not act on it.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    holder_ = std::thread([this] { Hold(); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
  while (stage_ == Stage::kFreezing) co_await changed_.Wait();
  if (stage_ == Stage::kFrozen) co_return base::Result<>{};
  const int error = error_ == 0 ? ECANCELED : error_;
  co_return base::FailErrno(error, fmt::format("freeze file system at '{}'", path_));
}

net::AsyncResult<> Freeze::End() {
  if (stage_ != Stage::kThawed) (void)!::eventfd_write(end_.get(), 1);
  while (stage_ != Stage::kThawed) co_await changed_.Wait();
  co_return base::Result<>{};
}

net::Task<> Freeze::AwaitThaw() {
  while (stage_ != Stage::kThawed) co_await changed_.Wait();
}

// Runs beside the loop, and ends thawed. Nothing of the class but what is constant while it runs is
// touched here.
void Freeze::Hold() {
  const auto tell = [this](auto news) { boost::asio::post(executor_, std::move(news)); };
  const sys::UniqueFd root(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  int error = root ? 0 : errno;
  // Most is written out while everything still runs; the freeze itself has little left to do.
  if (error == 0 && ::syncfs(root.get()) != 0) error = errno;
  if (error == 0 && ::ioctl(root.get(), FIFREEZE, 0) != 0) error = errno;
  tell([this, error] { OnFrozen(error); });
  if (error != 0) return;
  const base::Deadline deadline = base::Deadline::After(longest_);
  pollfd end{end_.get(), POLLIN, 0};
  int ended = 0;
  do {
    ended = ::poll(&end, 1, deadline.poll_timeout());
  } while (ended <= 0 && !deadline.passed());
  // EINVAL: somebody in the guest was quicker.
  const bool thawed = ::ioctl(root.get(), FITHAW, 0) == 0 || errno == EINVAL;
  const int thaw_error = thawed ? 0 : errno;
  tell([this, by_itself = ended <= 0, thaw_error] {
    if (by_itself) base::LogWarning("freeze: thawed because its time was over");
    if (thaw_error != 0) {
      base::LogError("freeze: " + base::Error::FromErrno(thaw_error, "thaw").ToString());
    }
    OnThawed();
  });
}

void Freeze::OnFrozen(int error) {
  if (error != 0) {
    error_ = error;
    return OnThawed();
  }
  stage_ = Stage::kFrozen;
  changed_.Notify();
}

void Freeze::OnThawed() {
  holder_.join();
  stage_ = Stage::kThawed;
  changed_.Notify();
}

}  // namespace tinderbox::agent
