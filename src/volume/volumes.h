// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/error.h"
#include "store/store.h"
#include "sys/fd.h"
#include "volume/metadata.h"
#include "volume/trash.h"
#include "volume/tree.h"
#include "volume/usage.h"

// Volumes: directories of the pool that outlive sandboxes.
namespace tinderbox::volume {

using Volume = store::VolumeRecord;

// A volume's directory that has no record, and what is known of it.
struct Lost {
  std::string id;
  std::string name;  // empty: not known
  std::string why;
};

struct VolumesOptions {
  std::string directory;  // <pool>/volumes; made, with mode 0700
  store::Store& store;    // must outlive it
  // kResourceExhausted where that many bytes more would eat into what must stay free.
  std::function<base::Result<>(std::uint64_t bytes)> ensure_room;
  std::uint64_t limit_bytes = 0;    // of what one volume holds; 0: none
  std::uint64_t reserve_bytes = 0;  // of the pool, that volumes leave to sandboxes
  // Takes a directory that has no record out of the way, to where it is kept.
  std::function<base::Result<>(const Lost& lost, const std::string& path)> keep_lost;
  // The store is new, or was put back from a backup: what has metadata beside it is taken up.
  bool adopt = false;
};

// A volume exists from the moment its record is written (its directory is there by then) to the
// moment the record goes (its directory goes after that). What a killed process leaves of a volume
// that was being made or removed is swept by the next. A directory whose record is missing for any
// other reason is data: it goes to `keep_lost`, never away. Blocks; safe from any thread.
//
//   <directory>/<id>/       what is in the volume <id>
//   <directory>/.meta/      what the records say, beside the data (metadata.h)
//   <directory>/.incoming/  uploads that are not finished
//   <directory>/.trash/     what was removed, until the disk has it back
class Volumes {
 public:
  static base::Result<std::unique_ptr<Volumes>> Open(VolumesOptions options);

  // kInvalidArgument for what no name is (IsValidVolumeName), kAlreadyExists, kResourceExhausted.
  base::Result<Volume> Create(const std::string& name);
  base::Result<std::vector<Volume>> List() { return options_.store.ListVolumes(); }
  base::Result<Volume> Get(std::string_view id);           // kNotFound
  base::Result<Volume> FindByName(std::string_view name);  // kNotFound
  // Its content may take longer to go than this call. Whether somebody uses it is the caller's
  // business. kNotFound.
  base::Result<> Remove(std::string_view id);

  // Takes up the volume `id` again, which was lost: its record comes from the metadata beside it,
  // its name from `name` unless that is empty, and its data from `fetch`, which moves the data to
  // the path that it gets. kNotFound: there is no metadata; kAlreadyExists: the name or id is in
  // use.
  base::Result<Volume> Adopt(const std::string& id, const std::string& name,
                             const std::function<base::Result<>(const std::string& to)>& fetch);
  // Forgets the metadata of a lost volume, whose data is gone.
  base::Result<> ForgetLost(const std::string& id);
  // Where a lost volume's directory goes to be removed: whatever its depth. kNotFound.
  base::Result<> Discard(const std::string& path);

  // Where the volume's content stands.
  std::string DirectoryOf(std::string_view id) const;
  base::Result<Tree> OpenTree(std::string_view id);
  base::Result<> EnsureRoom(std::uint64_t bytes) const { return options_.ensure_room(bytes); }

  // The volume's size and limit; shared by all its writers. Existing files are
  // counted in the background; until that is done, the size is too small.
  base::Result<std::shared_ptr<Usage>> UsageOf(std::string_view id);
  // To be called now and then with the free space of the pool: below the reserve, no volume takes
  // anything in. Counts anew what may be wrong. Does not block.
  void OnSpace(std::uint64_t free_bytes);

  Trash& trash() { return trash_; }

 private:
  Volumes(VolumesOptions options, sys::UniqueFd root, sys::UniqueFd incoming, sys::UniqueFd trash)
      : options_(std::move(options)),
        metadata_(options_.directory + "/.meta"),
        root_(std::move(root)),
        incoming_(std::move(incoming)),
        trash_(std::move(trash)) {}
  base::Result<> Sweep();
  void CountInBackground(const std::string& id);
  void Count(const std::stop_token& stop);
  base::Result<> SweepDirectory(const std::string& name);

  const VolumesOptions options_;
  const Metadata metadata_;
  sys::UniqueFd root_;
  sys::UniqueFd incoming_;
  Trash trash_;
  std::mutex mutex_;  // guards what follows
  std::map<std::string, std::shared_ptr<Usage>, std::less<>> usages_;
  std::set<std::string> to_count_;
  std::condition_variable_any counting_;
  std::jthread counter_;  // started when there is something to count; last: it uses the others
};

}  // namespace tinderbox::volume
