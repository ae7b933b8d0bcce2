// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/directory_watch.h"

#include <dirent.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <cerrno>
#include <cstring>

#include "agent/entry_info.h"

namespace tinderbox::agent {
namespace {

namespace asio = boost::asio;
using Clock = std::chrono::steady_clock;
using net::ConnectCode;

constexpr std::uint32_t kMask = IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_MODIFY | IN_ATTRIB |
                                IN_DELETE | IN_DELETE_SELF | IN_ONLYDIR;
constexpr char kCreate[] = "EVENT_TYPE_CREATE";
constexpr char kWrite[] = "EVENT_TYPE_WRITE";
constexpr char kRemove[] = "EVENT_TYPE_REMOVE";
constexpr char kRename[] = "EVENT_TYPE_RENAME";
constexpr char kChmod[] = "EVENT_TYPE_CHMOD";

// The kernel queues both ends of a move at once. A reader may still see the first one alone.
constexpr std::chrono::milliseconds kPairTime{20};

// File systems whose changes by others the kernel does not see.
constexpr std::uint32_t kNetworkFileSystems[] = {
    NFS_SUPER_MAGIC, SMB_SUPER_MAGIC,  CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC, FUSE_SUPER_MAGIC,
    V9FS_MAGIC,      CEPH_SUPER_MAGIC, AFS_SUPER_MAGIC,  AFS_FS_MAGIC,     CODA_SUPER_MAGIC,
};

bool OnNetwork(const std::string& path) {
  struct statfs fs{};
  return ::statfs(path.c_str(), &fs) == 0 &&
         std::ranges::find(kNetworkFileSystems, static_cast<std::uint32_t>(fs.f_type)) !=
             std::end(kNetworkFileSystems);
}

std::string Join(const std::string& directory, std::string_view name) {
  return directory.empty() ? std::string(name) : fmt::format("{}/{}", directory, name);
}

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

}  // namespace

RpcResult<std::shared_ptr<DirectoryWatch>> DirectoryWatch::Open(
    const asio::any_io_executor& executor, WatchOptions options) {
  struct stat found{};
  if (::stat(options.path.c_str(), &found) != 0) {
    return RpcFail(ConnectCode::kNotFound, fmt::format("path '{}' not found", options.path));
  }
  if (!S_ISDIR(found.st_mode)) {
    return RpcFail(ConnectCode::kInvalidArgument,
                   fmt::format("path '{}' is not a directory", options.path));
  }
  if (!options.allow_network_mounts && OnNetwork(options.path)) {
    return RpcFail(ConnectCode::kInvalidArgument,
                   fmt::format("cannot watch path '{}': it is on a network file system, where "
                               "changes made elsewhere are not seen",
                               options.path));
  }
  const int inotify = ::inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (inotify < 0) {
    return RpcFail(ConnectCode::kResourceExhausted,
                   fmt::format("error creating watcher: {}", std::strerror(errno)));
  }
  const std::shared_ptr<DirectoryWatch> watch(
      new DirectoryWatch(executor, std::move(options), inotify));
  const RpcResult<> added = watch->Add("", Follow::kRoot, Announce::kNothing);
  if (!added) return std::unexpected(added.error());
  asio::co_spawn(
      executor,
      [](std::shared_ptr<DirectoryWatch> self) -> net::Task<> { co_await self->Pump(); }(watch),
      asio::detached);
  return watch;
}

DirectoryWatch::DirectoryWatch(const asio::any_io_executor& executor, WatchOptions options,
                               int inotify)
    : options_(std::move(options)),
      inotify_(executor, inotify),
      move_timer_(executor),
      changed_(executor),
      room_(executor) {}

void DirectoryWatch::Close() {
  closed_ = true;
  boost::system::error_code ignored;
  inotify_.close(ignored);
  move_timer_.cancel();
  room_.Notify();
  changed_.Notify();
}

boost::json::object DirectoryWatch::Take() {
  boost::json::object event = std::move(events_.front());
  events_.pop_front();
  room_.Notify();
  return event;
}

std::string DirectoryWatch::FullPath(const std::string& relative) const {
  if (relative.empty()) return options_.path;
  return options_.path == "/" ? "/" + relative : fmt::format("{}/{}", options_.path, relative);
}

RpcResult<> DirectoryWatch::Add(const std::string& relative, Follow follow, Announce announce) {
  if (directories_.size() >= kMaxDirectories) {
    return RpcFail(ConnectCode::kResourceExhausted,
                   fmt::format("more than {} directories to watch", kMaxDirectories));
  }
  const std::uint32_t mask = kMask | (follow == Follow::kBelow ? IN_DONT_FOLLOW : 0);
  const int watch = ::inotify_add_watch(inotify_.native_handle(), FullPath(relative).c_str(), mask);
  if (watch < 0) {
    // Gone again, or somebody's private mount.
    if (follow == Follow::kBelow && errno != ENOSPC && errno != ENOMEM) return {};
    return RpcFail(
        errno == ENOSPC ? ConnectCode::kResourceExhausted : ConnectCode::kInternal,
        fmt::format("error watching '{}': {}", FullPath(relative), std::strerror(errno)));
  }
  const bool added = directories_.insert_or_assign(watch, relative).second;
  // The kernel gives a directory that is already watched its old descriptor.
  for (Moved& moved : moved_) moved.directories.erase(watch);
  if (added && announce == Announce::kUnwatched) announce = Announce::kAll;
  return options_.recursive ? AddBelow(relative, announce) : RpcResult<>{};
}

RpcResult<> DirectoryWatch::AddBelow(const std::string& relative, Announce announce) {
  const std::unique_ptr<DIR, CloseDir> dir(::opendir(FullPath(relative).c_str()));
  if (!dir) return {};
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    const std::string child = Join(relative, name);
    if (announce == Announce::kAll) {
      Emit(kCreate, child);
      announced_.insert(child);
    }
    bool is_directory = entry->d_type == DT_DIR;
    if (entry->d_type == DT_UNKNOWN) {
      struct stat found{};
      is_directory = ::lstat(FullPath(child).c_str(), &found) == 0 && S_ISDIR(found.st_mode);
    }
    if (!is_directory) continue;
    const RpcResult<> added = Add(child, Follow::kBelow, announce);
    if (!added) return added;
  }
  return {};
}

// --- Moves

void DirectoryWatch::BeginMove(std::uint32_t cookie, const std::string& from) {
  if (moved_.size() >= kMaxMoves) ForgetMoved(moved_.begin());
  Moved moved{.cookie = cookie, .until = Clock::now() + kPairTime, .directories = {}, .held = {}};
  const std::string below = from + "/";
  for (auto it = directories_.begin(); it != directories_.end();) {
    if (it->second == from) {
      moved.directories.emplace(it->first, "");
    } else if (it->second.starts_with(below)) {
      moved.directories.emplace(it->first, it->second.substr(below.size()));
    } else {
      ++it;
      continue;
    }
    it = directories_.erase(it);
  }
  moved_.push_back(std::move(moved));
  ArmMoveTimer(moved_.front().until);
}

void DirectoryWatch::Hold(Event event) {
  const auto moved = std::ranges::find_if(
      moved_, [&](const Moved& candidate) { return candidate.directories.contains(event.watch); });
  if (moved == moved_.end()) return;
  moved->held.push_back(std::move(event));
  if (moved->held.size() >= kMaxHeld) ForgetMoved(moved);
}

// A directory that came here: from elsewhere in the tree, or from outside it.
RpcResult<> DirectoryWatch::AddMoved(std::uint32_t cookie, const std::string& relative) {
  const auto found = std::ranges::find(moved_, cookie, &Moved::cookie);
  if (found == moved_.end()) return Add(relative, Follow::kBelow, Announce::kNothing);
  Moved moved = std::move(*found);
  moved_.erase(found);
  for (const auto& [watch, below] : moved.directories) {
    directories_.insert_or_assign(watch, below.empty() ? relative : Join(relative, below));
  }
  // A scan under its old name may have found parts of it gone already.
  const RpcResult<> added = Add(relative, Follow::kBelow, Announce::kUnwatched);
  if (!added) return added;
  for (Event& held : moved.held) Handle(std::move(held));
  return {};
}

void DirectoryWatch::ForgetMoved(std::deque<Moved>::iterator moved) {
  for (const auto& [watch, below] : moved->directories) {
    ::inotify_rm_watch(inotify_.native_handle(), watch);
  }
  moved_.erase(moved);
}

void DirectoryWatch::ForgetOverdueMoves() {
  // The other end may be in the queue, and stays there while the client takes no events.
  const bool drained = ReadPending();
  const auto now = Clock::now();
  while (drained && !moved_.empty() && moved_.front().until <= now) ForgetMoved(moved_.begin());
  if (!moved_.empty()) ArmMoveTimer(drained ? moved_.front().until : now + kPairTime);
}

void DirectoryWatch::ArmMoveTimer(Clock::time_point when) {
  move_timer_.expires_at(when);
  move_timer_.async_wait([weak = weak_from_this()](boost::system::error_code ec) {
    const auto self = weak.lock();
    if (!ec && self && !self->closed_ && !self->error_) self->ForgetOverdueMoves();
  });
}

// --- Events

bool DirectoryWatch::ReadPending() {
  alignas(inotify_event) std::array<char, 16 << 10> buffer;
  while (!closed_ && !error_ && events_.size() < kMaxQueued) {
    const ssize_t n = ::read(inotify_.native_handle(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      // Whatever was announced twice has been seen twice by now.
      announced_.clear();
      return true;
    }
    if (n <= 0) {
      Fail({ConnectCode::kInternal, fmt::format("watcher error: {}", std::strerror(errno))});
      return false;
    }
    for (std::size_t at = 0; at < static_cast<std::size_t>(n) && !error_;) {
      const auto* event = reinterpret_cast<const inotify_event*>(buffer.data() + at);
      at += sizeof(inotify_event) + event->len;
      // The kernel pads the name with zeros.
      const char* name = event->len > 0 ? event->name : "";
      Handle({.watch = event->wd, .mask = event->mask, .cookie = event->cookie, .name = name});
    }
    changed_.Notify();
  }
  return false;
}

net::Task<> DirectoryWatch::Pump() {
  while (!closed_ && !error_) {
    if (ReadPending()) {
      boost::system::error_code ignored;
      co_await inotify_.async_wait(asio::posix::stream_descriptor::wait_read,
                                   asio::redirect_error(asio::use_awaitable, ignored));
    } else if (events_.size() >= kMaxQueued) {
      co_await room_.Wait();
    }
  }
}

void DirectoryWatch::Handle(Event event) {
  if ((event.mask & IN_Q_OVERFLOW) != 0) {
    return Fail({ConnectCode::kResourceExhausted, "watcher error: events were lost"});
  }
  const auto found = directories_.find(event.watch);
  if (found == directories_.end()) return Hold(std::move(event));
  const std::string directory = found->second;
  if ((event.mask & (IN_DELETE_SELF | IN_IGNORED)) != 0) {
    // Of one below, its parent tells.
    if (directory.empty() && (event.mask & IN_DELETE_SELF) != 0) Emit(kRemove, ".");
    directories_.erase(found);
    return;
  }
  if (event.name.empty()) return;  // of the directory itself, which its parent tells too
  const std::string relative = Join(directory, event.name);
  const bool is_directory = (event.mask & IN_ISDIR) != 0;
  if ((event.mask & IN_MOVED_FROM) != 0 && is_directory && options_.recursive) {
    BeginMove(event.cookie, relative);
  }
  if ((event.mask & (IN_CREATE | IN_MOVED_TO)) != 0) {
    if (announced_.erase(relative) > 0 && (event.mask & IN_CREATE) != 0) return;
    Emit(kCreate, relative);
    if (!is_directory || !options_.recursive) return;
    const RpcResult<> added = (event.mask & IN_CREATE) != 0
                                  ? Add(relative, Follow::kBelow, Announce::kAll)
                                  : AddMoved(event.cookie, relative);
    if (!added) Fail(added.error());
    return;
  }
  if ((event.mask & IN_MODIFY) != 0) Emit(kWrite, relative);
  if ((event.mask & IN_ATTRIB) != 0) Emit(kChmod, relative);
  if ((event.mask & IN_DELETE) != 0) Emit(kRemove, relative);
  if ((event.mask & IN_MOVED_FROM) != 0) Emit(kRename, relative);
}

void DirectoryWatch::Emit(std::string_view type, const std::string& relative) {
  boost::json::object event;
  event["name"] = relative;
  event["type"] = type;
  if (options_.include_entry && type != kRemove && type != kRename) {
    if (const base::Result<Entry> entry = ReadEntry(FullPath(relative))) {
      event["entry"] = EntryJson(*entry, NameTable());
    }
  }
  events_.push_back(std::move(event));
}

void DirectoryWatch::Fail(net::ConnectError error) {
  error_ = std::move(error);
  changed_.Notify();
}

}  // namespace tinderbox::agent
