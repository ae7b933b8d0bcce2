// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/error.h"
#include "image/library.h"

namespace tinderbox::image {

// The directory in which everything lives that is cloned: <state_dir>/pool. Where the state
// directory's file system has no reflinks, an XFS of ours is mounted there, out of the file
// <state_dir>/pool.img. The file is allocated, so that no write in the pool can find its host full;
// it begins small, and is grown as it fills. A sparse one (by option, or made by an older version)
// takes from its host only what is used; Space() and EnsureRoom() then guard the host's free space.
//
//   templates/<id>/   sandboxes/<id>/   tmp/ (of preparations)   trash/ (half removed)
class Pool {
 public:
  struct Options {
    std::string state_dir;
    std::uint64_t image_bytes = 0;    // size of a new image, at least 300 MiB
    std::uint64_t reserve_bytes = 0;  // what must stay free on the host's file system
    bool sparse = false;              // a new image is not allocated
  };

  // Mounts what must be mounted, and makes it first where it is not there. A mount or a loop device
  // that a predecessor left is taken over: the image is never attached twice, which would destroy
  // it.
  static base::Result<Pool> Open(const Options& options, const Progress& progress);
  // See ClosePool() of library.h.
  static base::Result<> Close(const std::string& state_dir);

  const std::string& dir() const { return dir_; }
  bool has_image() const { return has_image_; }

  // To be called before new work begins: kResourceExhausted with ENOSPC if the pool, or the host's
  // file system below it, is nearly full; grows the image if that helps. Running sandboxes may use
  // what this keeps free.
  base::Result<> EnsureRoom(std::uint64_t bytes) const;
  base::Result<Library::Space> Space() const;  // what may be written

 private:
  Pool(Options options, std::string dir, bool has_image)
      : options_(std::move(options)), dir_(std::move(dir)), has_image_(has_image) {}
  base::Result<> Grow(std::uint64_t bytes) const;
  base::Error Full(const std::string& dir, std::uint64_t free, std::uint64_t needed) const;
  std::uint64_t KeptForRunning(std::uint64_t total) const;

  Options options_;
  std::string dir_;
  bool has_image_;
};

}  // namespace tinderbox::image
