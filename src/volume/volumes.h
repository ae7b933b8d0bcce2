// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "store/store.h"
#include "sys/fd.h"
#include "volume/trash.h"
#include "volume/tree.h"

// Volumes: directories of the pool that outlive sandboxes.
namespace tinderbox::volume {

using Volume = store::VolumeRecord;

struct VolumesOptions {
  std::string directory;  // <pool>/volumes; made, with mode 0700
  store::Store& store;    // must outlive it
  // kResourceExhausted where that many bytes more would eat into what must stay free.
  std::function<base::Result<>(std::uint64_t bytes)> ensure_room;
};

// A volume exists from the moment its record is written (its directory is there by then) to the
// moment the record goes (its directory goes after that): what a killed process leaves beside the
// records is swept by the next. Blocks; safe from any thread.
//
//   <directory>/<id>/       what is in the volume <id>
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

  // Where the volume's content stands.
  std::string DirectoryOf(std::string_view id) const;
  base::Result<Tree> OpenTree(std::string_view id);
  base::Result<> EnsureRoom(std::uint64_t bytes) const { return options_.ensure_room(bytes); }

  Trash& trash() { return trash_; }

 private:
  Volumes(VolumesOptions options, sys::UniqueFd root, sys::UniqueFd incoming, sys::UniqueFd trash)
      : options_(std::move(options)),
        root_(std::move(root)),
        incoming_(std::move(incoming)),
        trash_(std::move(trash)) {}
  base::Result<> Sweep();

  const VolumesOptions options_;
  sys::UniqueFd root_;
  sys::UniqueFd incoming_;
  Trash trash_;
};

}  // namespace tinderbox::volume
