// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <unistd.h>

#include <utility>

namespace tinderbox::sys {

// Owns one file descriptor; closes it on destruction. Every descriptor in this program is made
// close-on-exec; what a child shall inherit is named in an explicit map at spawn.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(std::exchange(other.fd_, -1));
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  [[nodiscard]] int Release() { return std::exchange(fd_, -1); }
  void Reset(int fd = -1) {
    // close(2) on Linux frees the descriptor even when it fails; there is nothing to retry.
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

// A borrowed descriptor: valid only as long as its owner lives. Passed by value.
class FdRef {
 public:
  FdRef(const UniqueFd& owner) : fd_(owner.get()) {}  // NOLINT: implicit by design
  static FdRef Borrow(int fd) { return FdRef(fd); }
  int get() const { return fd_; }

 private:
  explicit FdRef(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace tinderbox::sys
