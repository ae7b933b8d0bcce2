// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace tinderbox::image {

inline constexpr std::size_t kMaxDebFile = 512 << 20;

struct DebVisitor {
  // Whether the regular file at `path` ("boot/vmlinuz-6.1", no leading "./") is wanted.
  std::function<bool(std::string_view path)> wants;
  // Takes the content of one that is.
  std::function<base::Result<>(std::string path, std::string content)> take;
};

// Goes through the files of a Debian binary package, in process: nothing is installed, no script of
// the package is run. kDataLoss for a package that is damaged or is none; a wanted file above
// kMaxDebFile is kResourceExhausted.
base::Result<> ReadDeb(const std::string& path, const DebVisitor& visitor);

}  // namespace tinderbox::image
