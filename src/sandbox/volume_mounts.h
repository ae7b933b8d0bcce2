// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <future>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/deadline.h"
#include "base/error.h"
#include "network/slot_pool.h"
#include "sandbox/mount_paths.h"
#include "store/store.h"
#include "volume/server_process.h"
#include "volume/volumes.h"

namespace tinderbox::sandbox {

// The volumes that are mounted in running sandboxes. The daemon dials the guest's agent, which
// mounts FUSE and passes its messages on; a tinderbox-volume, one process per mount, answers them.
// So nothing is opened from the guest to the host, and a mount needs no device that a snapshot
// would have to hold.
//
// A server that ends by itself (by its limits, or because the guest broke the protocol) is noticed
// and told of, a few times per sandbox: what it served is dead until it is mounted again. Safe from
// any thread; blocks.
class VolumeMounts {
 public:
  struct Options {
    volume::Volumes& volumes;
    network::SlotPool& slots;
    std::string program;              // path of tinderbox-volume
    std::uint64_t reserve_bytes = 0;  // of the pool's file system, that guests leave free
  };
  explicit VolumeMounts(Options options);
  ~VolumeMounts();  // ends all servers
  VolumeMounts(const VolumeMounts&) = delete;
  VolumeMounts& operator=(const VolumeMounts&) = delete;

  // kInvalidArgument: there is no volume of that name.
  base::Result<> CheckThatTheyExist(const MountMap& mounts) const;
  // Mounts all that the record says, in the place of what it had mounted; returns when the guest's
  // kernel has them. `cgroup`: that the servers join; "": none.
  base::Result<> Mount(const store::SandboxRecord& record, const std::string& cgroup,
                       base::Deadline deadline);
  // Ends the sandbox's servers: they hold its cgroup, and its part of the volume.
  void Release(const std::string& sandbox_id);
  // Called with a sandbox's id, on a thread of its own that must not be held up. Set once, before
  // the first Mount; taken back by an empty function.
  void OnEnded(std::function<void(const std::string& sandbox_id)> callback);

 private:
  struct Entry {
    std::string sandbox;
    std::string path;
    std::string name;
    std::unique_ptr<volume::ServerProcess> server;
  };

  base::Result<std::unique_ptr<volume::ServerProcess>> MountOne(const store::SandboxRecord& record,
                                                                const std::string& cgroup,
                                                                const std::string& path,
                                                                const std::string& name,
                                                                base::Deadline deadline);
  void EndServers(const std::string& sandbox_id);
  void OnThread(std::function<void()> work);
  void Run();
  std::vector<Entry> TakeEnded();
  void Tell(const Entry& ended);
  void Wake();

  const Options options_;
  std::mutex mutex_;  // guards what follows
  std::list<Entry> entries_;
  std::list<std::function<void()>> work_;
  std::map<std::string, int> told_;  // how often, by sandbox
  std::function<void(const std::string& sandbox_id)> on_ended_;
  bool stopping_ = false;
  sys::UniqueFd wake_;  // eventfd
  std::thread thread_;  // starts all servers, which end with it
};

}  // namespace tinderbox::sandbox
