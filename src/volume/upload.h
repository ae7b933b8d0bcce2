// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "sys/fd.h"
#include "volume/usage.h"

namespace tinderbox::volume {

// What somebody wants of a file or directory; what is absent is left to what is there, or to the
// directory around it.
struct Attributes {
  std::optional<std::uint32_t> uid;
  std::optional<std::uint32_t> gid;
  std::optional<std::uint32_t> mode;  // permission bits
};

// A file on its way into a volume: nobody sees it before Commit, which puts it in its place by one
// rename. Without that it is gone with this object. Blocks.
class Upload {
 public:
  struct Place {
    sys::UniqueFd directory;
    std::string name;
    std::string path;  // for messages
    Attributes attributes;
    std::shared_ptr<Usage> usage{};  // null: nothing is counted
  };
  static base::Result<std::unique_ptr<Upload>> Begin(sys::FdRef incoming, Place place);
  ~Upload();
  Upload(const Upload&) = delete;
  Upload& operator=(const Upload&) = delete;

  base::Result<> Write(std::string_view data);  // see OverLimit
  // On disk when it returns. kInvalidArgument where a directory stands there by now.
  base::Result<> Commit();

 private:
  Upload(sys::FdRef incoming, Place place, std::string temporary, sys::UniqueFd file)
      : incoming_(incoming),
        place_(std::move(place)),
        temporary_(std::move(temporary)),
        file_(std::move(file)) {}

  sys::FdRef incoming_;
  Place place_;
  std::string temporary_;  // empty once it is in its place
  sys::UniqueFd file_;
  std::int64_t counted_ = 0;  // bytes, in the usage
};

}  // namespace tinderbox::volume
