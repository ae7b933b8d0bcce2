// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/json.hpp>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "agent/rpc.h"
#include "agent/wakeup.h"

struct inotify_event;

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

  DirectoryWatch(const boost::asio::any_io_executor& executor, WatchOptions options, int inotify);

  // Watches `path` ("" is the root, else relative to it) and, where recursive, what is below.
  RpcResult<> Add(const std::string& relative, Follow follow, Announce announce);
  RpcResult<> AddBelow(const std::string& relative, Announce announce);
  void Forget(const std::string& relative);
  void ForgetMoved();
  void Rename(const std::string& from, const std::string& to);
  RpcResult<> AddMoved(const inotify_event& event, const std::string& relative);
  net::Task<> WaitReadable();
  net::Task<> Pump();
  void Handle(const inotify_event& event);
  void Emit(std::string_view type, const std::string& relative);
  void Fail(net::ConnectError error);
  std::string FullPath(const std::string& relative) const;

  const WatchOptions options_;
  boost::asio::posix::stream_descriptor inotify_;
  std::map<int, std::string> directories_;  // by watch descriptor
  // What a scan of a new directory has announced and the kernel may announce again.
  std::set<std::string> announced_;
  // A directory that was moved, to where the kernel's next words may tell (inotify(7), cookie).
  struct Moved {
    std::uint32_t cookie;
    std::string from;
  };
  std::optional<Moved> moved_;
  std::deque<boost::json::object> events_;
  std::optional<net::ConnectError> error_;
  bool closed_ = false;
  Wakeup changed_;
  Wakeup room_;
};

}  // namespace tinderbox::agent
