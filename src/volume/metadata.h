// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/error.h"
#include "store/store.h"

// A copy of a volume's record beside its data, so that the volume can be adopted
// if the store is lost: <directory>/<id>.json, mode 0600, out of reach of guests.
namespace tinderbox::volume {

class Metadata {
 public:
  explicit Metadata(std::string directory) : directory_(std::move(directory)) {}

  // Atomic and durable.
  base::Result<> Write(const store::VolumeRecord& volume) const;
  // kNotFound; kDataLoss if it cannot be read.
  base::Result<store::VolumeRecord> Read(const std::string& id) const;
  base::Result<> Remove(const std::string& id) const;  // absence is success

  // A removal is noted down before the volume's record goes, so that the next start can tell a
  // volume that was being removed from one whose record was lost.
  base::Result<> MarkRemoved(const std::string& id) const;
  bool IsMarkedRemoved(const std::string& id) const;
  base::Result<> UnmarkRemoved(const std::string& id) const;  // absence is success

 private:
  std::string PathOf(const std::string& id) const { return directory_ + "/" + id + ".json"; }
  std::string MarkOf(const std::string& id) const { return directory_ + "/" + id + ".removed"; }
  std::string directory_;
};

}  // namespace tinderbox::volume
