// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "image/internal/manifest.h"
#include "image/library.h"

namespace tinderbox::image {

// The templates and snapshots below <pool>/templates, one directory each (saved_dir.h).
class TemplateStore {
 public:
  explicit TemplateStore(std::string pool) : pool_(std::move(pool)) {}

  // The id of the template that we name so: the same on every host and after every rebuild.
  static std::string IdOf(std::string_view name);

  // Templates that are damaged are left out; `damaged`, where given, takes why.
  base::Result<std::vector<TemplateManifest>> List(
      std::vector<base::Error>* damaged = nullptr) const;
  // By id, name or "name:default"; an id comes first. kNotFound "template 'x' not found"; kDataLoss
  // where it is there but damaged.
  base::Result<TemplateManifest> Find(std::string_view id_or_name) const;

  // Quick checks of all its files (size, superblock, the state's checksum): kDataLoss where one is
  // damaged.
  base::Result<> Check(const std::string& id) const;
  // Checks all data against the checksums.
  base::Result<> Verify(const std::string& id) const;

  // Makes `dir` (of the same pool, complete but for its manifest) what `manifest` describes, in the
  // place of what has its id. Fills in the checksums.
  base::Result<> Install(const std::string& dir, TemplateManifest manifest) const;
  base::Result<> Rename(const std::string& id, const std::string& name) const;
  base::Result<> Remove(const std::string& id) const;

 private:
  std::string Dir(std::string_view id) const;
  base::Result<TemplateManifest> Load(const std::string& id) const;

  std::string pool_;
};

}  // namespace tinderbox::image
