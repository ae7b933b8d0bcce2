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

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>

#include "base/log.h"

namespace tinderbox::agent {
namespace {

// The wait is counted in these: a clock that jumps, as a restored guest's may, adds one at most.
constexpr std::chrono::milliseconds kTick{1000};

class Filesystem : public Freezable {
 public:
  explicit Filesystem(std::string path) : path_(std::move(path)) {}

  base::Result<> Stop() override {
    root_.Reset(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // Most is written out while everything still runs; the freeze itself has little left to do.
    if (!root_ || ::syncfs(root_.get()) != 0 || ::ioctl(root_.get(), FIFREEZE, 0) != 0) {
      return base::FailErrno(errno, fmt::format("freeze file system at '{}'", path_));
    }
    return {};
  }
  base::Result<> GoOn() override {
    // EINVAL: a process of the guest thawed it first.
    if (::ioctl(root_.get(), FITHAW, 0) != 0 && errno != EINVAL) {
      return base::FailErrno(errno, fmt::format("thaw file system at '{}'", path_));
    }
    root_.Reset();
    return {};
  }

 private:
  const std::string path_;
  sys::UniqueFd root_;
};

}  // namespace

std::unique_ptr<Freezable> FreezableFilesystem(std::string path) {
  return std::make_unique<Filesystem>(std::move(path));
}

Freeze::Freeze(const boost::asio::any_io_executor& executor, std::unique_ptr<Freezable> target,
               std::chrono::milliseconds longest)
    : executor_(executor), target_(std::move(target)), longest_(longest), changed_(executor) {}

Freeze::~Freeze() {
  if (!holder_.joinable()) return;
  (void)!::eventfd_write(end_.get(), 1);
  holder_.join();
}

net::AsyncResult<> Freeze::Begin() {
  if (!target_) {
    co_return base::Fail(base::Code::kFailedPrecondition,
                         "freeze: the agent is not process 1 of a VM");
  }
  if (stage_ == Stage::kThawed) {
    end_.Reset(::eventfd(0, EFD_CLOEXEC));
    if (!end_) co_return base::FailErrno(errno, "freeze: make eventfd");
    stopped_ = {};
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
  if (!stopped_) co_return stopped_;
  co_return base::Fail(base::Code::kUnavailable, "freeze: it was thawed at once");
}

net::AsyncResult<> Freeze::End() {
  if (stage_ != Stage::kThawed) (void)!::eventfd_write(end_.get(), 1);
  while (stage_ != Stage::kThawed) co_await changed_.Wait();
  co_return base::Result<>{};
}

net::Task<> Freeze::AwaitThaw() {
  while (stage_ != Stage::kThawed) co_await changed_.Wait();
}

// Whether End has been called, within longest_ or at all.
bool Freeze::AwaitEnd(bool forever) const {
  pollfd end{end_.get(), POLLIN, 0};
  const auto tick = std::min(kTick, longest_);
  for (std::chrono::milliseconds waited{0}; forever || waited < longest_; waited += tick) {
    if (::poll(&end, 1, static_cast<int>(tick.count())) > 0) return true;
  }
  return false;
}

// Runs beside the loop, and ends thawed. Nothing of the class but what is constant while it runs is
// touched here.
void Freeze::Hold() {
  const auto tell = [this](auto news) { boost::asio::post(executor_, std::move(news)); };
  const base::Result<> stopped = target_->Stop();
  tell([this, stopped] { OnFrozen(stopped); });
  if (!stopped) return;
  const bool asked = AwaitEnd(false);
  if (!asked) {
    base::LogWarning("freeze: no request to thaw came in time");
    if (const auto prepared = target_->PrepareOwnThaw(); !prepared) {
      base::LogError("freeze: stays frozen: " + prepared.error().ToString());
      (void)AwaitEnd(true);
    }
  }
  if (const auto thawed = target_->GoOn(); !thawed) {
    base::LogError("freeze: " + thawed.error().ToString());
  }
  tell([this] { OnThawed(); });
}

void Freeze::OnFrozen(base::Result<> stopped) {
  stopped_ = std::move(stopped);
  if (!stopped_) return OnThawed();
  stage_ = Stage::kFrozen;
  changed_.Notify();
}

void Freeze::OnThawed() {
  holder_.join();
  stage_ = Stage::kThawed;
  changed_.Notify();
}

}  // namespace tinderbox::agent
