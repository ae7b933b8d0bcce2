// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "sys/fd.h"

namespace tinderbox::image {

// SHA-256, fed in parts.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void Update(std::string_view data);
  // Lower-case hexadecimal; once.
  std::string Finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string Sha256Hex(std::string_view data);
base::Result<std::string> Sha256OfFile(const std::string& path);

// A checksum of a sparse file that costs what its data costs: SHA-256 over the file's size and, for
// each 64 KiB block that is not all zeros, its offset and content. Whether zeros are holes or
// stored makes no difference, so a copy has the same sum.
base::Result<std::string> SparseSum(sys::FdRef file);

// CRC-32C (Castagnoli) as ext4 uses it: neither inverted before nor after.
std::uint32_t Crc32c(std::uint32_t seed, std::string_view data);

}  // namespace tinderbox::image
