// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "image/internal/workspace.h"
#include "image/library.h"

namespace tinderbox::image {

// By what the `base` template is built. A value: Hash() tells whether a template is of this recipe.
struct BaseRecipe {
  std::string suite = "bookworm";
  std::uint64_t disk_bytes = 8ull << 30;

  std::string Hash() const;
};

inline constexpr const char* kBaseUser = "user";
inline constexpr const char* kBaseHome = "/home/user";

// Makes the root file system of the recipe with mmdebstrap in a new directory of the workspace, and
// returns that. Nothing of ours goes into it: the agent comes with the initramfs.
base::Result<std::string> BuildBaseRootfs(const BaseRecipe& recipe, const Workspace& workspace,
                                          const Progress& progress);

// What turns a bare Debian tree into the template's: the user, sudo, names, apt's sources. Part of
// BuildBaseRootfs(), apart for its tests.
base::Result<> FurnishRootfs(const std::string& tree, const std::vector<std::string>& sources);

}  // namespace tinderbox::image
