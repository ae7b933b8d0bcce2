// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "volume/trash.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "base/id.h"
#include "base/log.h"
#include "sys/file.h"

namespace tinderbox::volume {

using base::FailErrno;
using base::Result;

namespace {

using Directory = std::unique_ptr<DIR, int (*)(DIR*)>;

Directory Open(sys::FdRef parent, const char* name) {
  const int fd =
      ::openat(parent.get(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return {nullptr, ::closedir};
  DIR* const directory = ::fdopendir(fd);
  if (directory == nullptr) ::close(fd);
  return {directory, ::closedir};
}

bool IsDots(std::string_view name) { return name == "." || name == ".."; }

}  // namespace

Trash::Trash(sys::UniqueFd directory) : directory_(std::move(directory)) {
  thread_ = std::thread([this] { Run(); });
}

Trash::~Trash() {
  stopping_ = true;
  {
    const std::lock_guard lock(mutex_);
    wanted_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Result<> Trash::Take(sys::FdRef parent, const std::string& name) {
  const std::string here = base::RandomHex(16);
  if (::renameat(parent.get(), name.c_str(), directory_.get(), here.c_str()) != 0) {
    return FailErrno(errno, fmt::format("remove '{}'", name));
  }
  {
    const std::lock_guard lock(mutex_);
    wanted_ = true;
    idle_ = false;
  }
  changed_.notify_all();
  return {};
}

bool Trash::AwaitEmpty(int milliseconds) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::milliseconds(milliseconds),
                           [this] { return idle_ && !wanted_; });
}

void Trash::Run() {
  while (!stopping_) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return wanted_; });
      wanted_ = false;
      idle_ = false;
    }
    Empty();
    {
      const std::lock_guard lock(mutex_);
      idle_ = true;
    }
    changed_.notify_all();
  }
}

// A directory is emptied by moving the directories in it up here, where their turn comes: so
// nothing is ever deeper than one level. Ends when a whole turn has removed nothing.
void Trash::Empty() {
  for (bool progress = true; progress && !stopping_;) {
    progress = false;
    const Directory all = Open(directory_, ".");
    if (!all) return;
    while (const dirent* const entry = ::readdir(all.get())) {
      if (stopping_) return;
      const std::string name = entry->d_name;
      if (IsDots(name)) continue;
      if (::unlinkat(directory_.get(), name.c_str(), 0) == 0) {
        progress = true;
      } else if (EmptyDirectory(name) &&
                 ::unlinkat(directory_.get(), name.c_str(), AT_REMOVEDIR) == 0) {
        progress = true;
      } else if (!stopping_) {
        base::LogWarning("cannot remove what was deleted from a volume",
                         {{"name", name}, {"error", base::Error::FromErrno(errno, "").ToString()}});
      }
    }
  }
}

bool Trash::EmptyDirectory(const std::string& name) {
  const Directory directory = Open(directory_, name.c_str());
  if (!directory) return false;
  const sys::FdRef fd = sys::FdRef::Borrow(::dirfd(directory.get()));
  while (const dirent* const entry = ::readdir(directory.get())) {
    if (stopping_) return false;
    if (IsDots(entry->d_name)) continue;
    if (::unlinkat(fd.get(), entry->d_name, 0) == 0) continue;
    ::renameat(fd.get(), entry->d_name, directory_.get(), base::RandomHex(16).c_str());
  }
  return true;
}

}  // namespace tinderbox::volume
