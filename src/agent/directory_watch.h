// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/json.hpp>
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "agent/rpc.h"
#include "agent/wakeup.h"

namespace tinderbox::agent {

struct WatchOptions {
  std::string path;  // resolved
  bool recursive = false;
  bool include_entry = false;  // EntryInfo in the events that have one: create, write, chmod
  bool allow_network_mounts = false;
};

// What happens in one directory, by inotify; where recursive, below it too, in directories that are
// made later as well. Belongs to the loop's thread; its own coroutine holds it until Close.
//
// Memory is bounded: with kMaxQueued events waiting, no more are read, and the kernel's own queue
// fills up until it says that events were lost. That is an error, which ends the watch: a client
// must not believe that it saw everything.
class DirectoryWatch : public std::enable_shared_from_this<DirectoryWatch> {
 public:
  static constexpr std::size_t kMaxQueued = 4096;
  static constexpr std::size_t kMaxDirectories = 100'000;
  // Directories that are moving at once, and events held back for each. Beyond that, the oldest
  // move counts as one out of the tree.
  static constexpr std::size_t kMaxMoves = 16;
  static constexpr std::size_t kMaxHeld = 4096;

  // not_found, invalid_argument for what is no directory or on a network file system that was not
  // allowed, resource_exhausted beyond the kernel's bounds or ours.
  static RpcResult<std::shared_ptr<DirectoryWatch>> Open(
      const boost::asio::any_io_executor& executor, WatchOptions options);

  ~DirectoryWatch() = default;
  DirectoryWatch(const DirectoryWatch&) = delete;
  DirectoryWatch& operator=(const DirectoryWatch&) = delete;

  // Ends it; whoever waits is woken.
  void Close();
  bool closed() const { return closed_; }

  // Reads what the kernel has queued by now, until kMaxQueued events wait. Does not block. Returns
  // true if nothing is left in the kernel's queue.
  bool ReadPending();

  bool empty() const { return events_.empty(); }
  // The next FilesystemEvent, which makes room.
  boost::json::object Take();
  // Why nothing comes behind the events that are queued.
  const std::optional<net::ConnectError>& error() const { return error_; }
  // Notified when there is something to take, an error, or the end.
  Wakeup& changed() { return changed_; }

 private:
  enum class Follow { kRoot, kBelow };
  // Of what is found below a directory, which is new to the client.
  enum class Announce {
    kNothing,
    kUnwatched,  // what is in directories that were not watched yet
    kAll,
  };

  // An inotify_event, see inotify(7).
  struct Event {
    int watch;
    std::uint32_t mask;
    std::uint32_t cookie;
    std::string name;
  };
  // A directory that left its place. inotify reports the two ends of a move as two events, and
  // events in the directory can come between them. They are held back until the other end gives
  // their new name. If it does not come, the directory left the tree and they are dropped.
  struct Moved {
    std::uint32_t cookie;
    std::chrono::steady_clock::time_point until;
    std::map<int, std::string> directories;  // by watch descriptor; relative to the moved one
    std::vector<Event> held;
  };

  DirectoryWatch(const boost::asio::any_io_executor& executor, WatchOptions options, int inotify);

  // Watches `path` ("" is the root, else relative to it) and, where recursive, what is below.
  RpcResult<> Add(const std::string& relative, Follow follow, Announce announce);
  RpcResult<> AddBelow(const std::string& relative, Announce announce);
  RpcResult<> AddMoved(std::uint32_t cookie, const std::string& relative);
  void BeginMove(std::uint32_t cookie, const std::string& from);
  void ForgetMoved(std::deque<Moved>::iterator moved);
  void ForgetOverdueMoves();
  void ArmMoveTimer(std::chrono::steady_clock::time_point when);
  void Hold(Event event);
  net::Task<> Pump();
  void Handle(Event event);
  void Emit(std::string_view type, const std::string& relative);
  void Fail(net::ConnectError error);
  std::string FullPath(const std::string& relative) const;

  const WatchOptions options_;
  boost::asio::posix::stream_descriptor inotify_;
  std::map<int, std::string> directories_;  // by watch descriptor
  // What a scan of a new directory has announced and the kernel may announce again.
  std::set<std::string> announced_;
  std::deque<Moved> moved_;  // the oldest first; their directories are not in directories_
  boost::asio::steady_timer move_timer_;
  std::deque<boost::json::object> events_;
  std::optional<net::ConnectError> error_;
  bool closed_ = false;
  Wakeup changed_;
  Wakeup room_;
};

}  // namespace tinderbox::agent
