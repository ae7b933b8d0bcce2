// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <expected>
#include <memory>

#include "base/error.h"
#include "sys/fd.h"

namespace tinderbox::volume {

// How much a volume holds and may hold. One page of memory that the daemon and all servers of the
// volume share: each writer adds to it, so a check is cheap and counts the writes of all guests.
// Safe from any thread and process. A server that a guest has taken over can falsify it, but only
// of the volume that this guest has mounted.
//
// It counts what files occupy, as ChargeOf does, from the last Recount on. What it cannot see (the
// end of a server that still had removed files open, changes by the API) makes it stale.
class Usage {
 public:
  // `limit_bytes`: 0 means without a limit.
  static base::Result<std::shared_ptr<Usage>> Create(std::uint64_t limit_bytes);
  // Maps the object that another process created.
  static base::Result<std::shared_ptr<Usage>> Map(const sys::UniqueFd& fd);
  ~Usage();
  Usage(const Usage&) = delete;
  Usage& operator=(const Usage&) = delete;

  sys::FdRef fd() const { return fd_; }
  std::uint64_t used() const;
  std::uint64_t limit() const;
  // Whether that many bytes more are within the limit. If not, this is remembered for TakeRefused.
  bool Fits(std::uint64_t bytes);
  void Add(std::int64_t bytes);

  // The pool has no free space left for volumes.
  void SetClosed(bool closed);
  bool closed() const;

  void MarkStale();
  bool stale() const;
  bool TakeRefused();  // whether something was refused since the last call
  // Counts what is below `root` and replaces what was known. Takes as long as a walk over all
  // files. If it fails (kResourceExhausted: nested too deeply), the volume counts as full.
  base::Result<> Recount(sys::FdRef root);

 private:
  struct Page;
  explicit Usage(Page* page) : page_(page) {}
  static base::Result<std::shared_ptr<Usage>> MapPage(int fd);

  sys::UniqueFd fd_;  // empty if mapped
  Page* page_;
};

// kResourceExhausted with EDQUOT, and the figures.
std::unexpected<base::Error> OverLimit(const Usage& usage);

// The bytes that count for a file: its blocks, but not those that the file system took beyond its
// end as a precaution; and something for the file itself.
inline constexpr std::uint64_t kChargePerFile = 512;
std::uint64_t ChargeOf(std::uint32_t mode, std::uint64_t size, std::uint64_t blocks);

}  // namespace tinderbox::volume
