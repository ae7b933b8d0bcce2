// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <mutex>
#include <string>

#include "base/error.h"
#include "daemon/wire.h"
#include "image/lost_found.h"

namespace tinderbox::daemon {

// Lists, adopts and removes the data in the pool's lost+found. Safe from any thread; blocks.
class Recovery {
 public:
  explicit Recovery(System& system) : system_(system) {}

  base::Result<boost::json::array> List();
  // Takes up a volume, under `as` unless that is empty, or a sandbox, as a paused one. kNotFound;
  // kAlreadyExists; kFailedPrecondition: only a person can make use of that entry.
  base::Result<boost::json::object> Adopt(const std::string& name, const std::string& as);
  base::Result<> Remove(const std::string& name);

 private:
  image::LostFound Lost() const { return image::LostFound(system_.library->pool_dir()); }
  base::Result<boost::json::object> AdoptVolume(const image::LostEntry& entry,
                                                const std::string& as);
  base::Result<boost::json::object> AdoptSandbox(const image::LostEntry& entry);

  System& system_;
  std::mutex mutex_;  // one at a time
};

}  // namespace tinderbox::daemon
