// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>
#include <string>

#include "base/error.h"

namespace tinderbox::secret {

// The key under which values are stored: 256 bits, wiped when it is no longer needed.
class Key {
 public:
  static constexpr std::size_t kBytes = 32;

  Key() = default;
  Key(Key&& other) noexcept;
  Key& operator=(Key&& other) noexcept;
  Key(const Key&) = delete;
  Key& operator=(const Key&) = delete;
  ~Key();

  unsigned char* data() { return bytes_.data(); }
  const unsigned char* data() const { return bytes_.data(); }

 private:
  std::array<unsigned char, kBytes> bytes_{};
};

// Reads the key of `path`: a file of 32 bytes that belongs to us and that nobody else may read. No
// value where there is none; kDataLoss for another size, kFailedPrecondition for one that is
// exposed.
base::Result<std::optional<Key>> ReadKeyFile(const std::string& path);

// Makes a key (getrandom(2)) and keeps it at `path`, mode 0600, so that it is there whole or not at
// all, power cuts included. There must be none yet.
base::Result<Key> MakeKeyFile(const std::string& path);

}  // namespace tinderbox::secret
