// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "base/error.h"

namespace tinderbox::image {

// Writes a cpio archive of the "newc" format that Linux takes as its initramfs. Deterministic: the
// same content gives the same bytes (sorted by path, times 0, owner root, inodes counted).
class CpioBuilder {
 public:
  // Paths are relative ("dev/console"); parents are added on their own. kInvalidArgument for paths
  // that are absolute, hold NUL or empty, "." or ".." parts, were added already, or are the one
  // that ends an archive.
  base::Result<> AddFile(const std::string& path, std::string content, std::uint32_t permissions);
  base::Result<> AddDirectory(const std::string& path, std::uint32_t permissions);
  base::Result<> AddCharDevice(const std::string& path, std::uint32_t permissions,
                               std::uint32_t major, std::uint32_t minor);

  // The archive, trailer included.
  std::string Build() const;

 private:
  struct Node {
    std::uint32_t mode = 0;
    std::string content;
    std::uint32_t major = 0;
    std::uint32_t minor = 0;
  };
  base::Result<> Add(const std::string& path, Node node);

  std::map<std::string, Node> nodes_;  // a parent sorts before what is in it
};

}  // namespace tinderbox::image
