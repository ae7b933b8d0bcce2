// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "image/internal/manifest.h"
#include "image/library.h"
#include "sys/fd.h"

namespace tinderbox::image {

// The templates below <pool>/templates: <id>/{manifest.json,disk.img}.
class TemplateStore {
 public:
  explicit TemplateStore(std::string pool) : pool_(std::move(pool)) {}

  // The id of the template that we name so: the same on every host and after every rebuild.
  static std::string IdOf(std::string_view name);

  // Templates that are damaged are left out; `damaged`, where given, takes why.
  base::Result<std::vector<TemplateManifest>> List(
      std::vector<base::Error>* damaged = nullptr) const;
  // By id, name or "name:default". kNotFound "template 'x' not found"; kDataLoss where it is there
  // but damaged.
  base::Result<TemplateManifest> Find(std::string_view id_or_name) const;

  // The template's disk, read-only, checked quickly (size, superblock): kDataLoss where it is
  // damaged.
  base::Result<sys::UniqueFd> OpenDisk(const std::string& id) const;
  // Checks all of the disk's data against its checksum.
  base::Result<> Verify(const std::string& id) const;

  // Makes `dir` (of the same pool, with a disk.img) the template that `manifest` describes, in
  // place of the one with its id. Fills in the checksum.
  base::Result<> Install(const std::string& dir, TemplateManifest manifest) const;
  base::Result<> Remove(const std::string& id) const;

 private:
  std::string Dir(std::string_view id) const;
  base::Result<TemplateManifest> Load(const std::string& id) const;

  std::string pool_;
};

}  // namespace tinderbox::image
