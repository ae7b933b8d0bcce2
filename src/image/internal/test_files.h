// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "image/internal/decompress.h"

// Files for tests, made on the fly: small, and valid as far as their readers look.
namespace tinderbox::image::testing {

// A directory of its own below /tmp, removed with everything in it (mounts first).
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// An ELF program that CheckVmlinux() takes, with `payload` as its only segment.
std::string MakeVmlinux(std::string_view payload);
// `data`, compressed as kernels are (xz, zstd and lz4 with their size appended).
std::string Compress(Compression compression, std::string_view data);
// An x86 boot image whose payload is `payload`.
std::string MakeBzImage(std::string_view payload);
// A kernel module with a .modinfo section of "depends=<depends>".
std::string MakeModule(std::string_view depends);
// A Debian package with these files (path, content).
std::string MakeDeb(const std::vector<std::pair<std::string, std::string>>& files);
// Bytes that do not compress to nothing; always the same.
std::string Noise(std::size_t bytes);

}  // namespace tinderbox::image::testing
