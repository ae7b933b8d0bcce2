// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/error.h"
#include "image/internal/manifest.h"
#include "sys/fd.h"

// One saved state, wherever it stands: a directory with manifest.json, disk.img and, with memory,
// memory.img and vmm.state. `dir` is its path. An error names the file that is wrong.
namespace tinderbox::image {

// kNotFound where there is no such directory; kDataLoss where its manifest is damaged.
base::Result<TemplateManifest> LoadSaved(const std::string& dir);

// What costs next to nothing, before each use: sizes, the disk's superblock, the state's checksum.
base::Result<> CheckSaved(const TemplateManifest& manifest);

// All of it, against the checksums. kFailedPrecondition where it was not sealed yet.
base::Result<> VerifySavedDir(const TemplateManifest& manifest);

// Writes the manifest of what is complete but for it. With `seal`, all checksums; else that of the
// state alone. Everything in `dir` is on disk afterwards where `durable`.
base::Result<> FinishSaved(const std::string& dir, TemplateManifest& manifest, bool seal,
                           bool durable);

// Adds the checksums that FinishSaved left out.
base::Result<> SealSaved(const std::string& dir);

// Makes a hard link, or where `copy` a reflink that belongs to `uid`:`gid`, of `from` at `to`.
struct LinkOptions {
  bool copy = false;
  unsigned uid = 0;
  unsigned gid = 0;
};
base::Result<> LinkFile(const std::string& from, const std::string& to, const LinkOptions& options);

}  // namespace tinderbox::image
