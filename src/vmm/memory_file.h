// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include "base/deadline.h"
#include "base/error.h"
#include "sys/fd.h"

// The files that make up a snapshot, while they are made.
namespace tinderbox::vmm {

// A file that is removed again unless it is kept: no snapshot is ever half there.
class NewFile {
 public:
  // kAlreadyExists where there is something at `path`.
  static base::Result<NewFile> Create(const std::string& path);
  NewFile(NewFile&& other) noexcept;
  NewFile& operator=(NewFile&&) = delete;
  ~NewFile();

  sys::FdRef fd() const { return fd_; }
  const std::string& path() const { return path_; }
  // Makes it readable by everyone and writable by nobody.
  base::Result<> Seal();
  // It stays. Cannot fail, so that of several files all are kept or none.
  void Keep() { path_.clear(); }

 private:
  NewFile(std::string path, sys::UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  std::string path_;
  sys::UniqueFd fd_;
};

// Makes the empty file `to` the same as `from`, holes included: a reflink where the file system has
// them, else a copy of what is not a hole.
base::Result<> CloneOrCopy(sys::FdRef from, sys::FdRef to, base::Deadline deadline);

// Writes all of it at `offset`, over short writes and EINTR.
base::Result<> WriteAt(sys::FdRef to, const char* data, std::size_t size, std::uint64_t offset);

}  // namespace tinderbox::vmm
