// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "agent/users.h"
#include "base/error.h"

namespace tinderbox::agent {

// Removes ".", ".." and doubled slashes from an absolute path by its text alone.
std::string CleanPath(std::string_view path);

// The path that a client means: absolute ones are kept, "~" and "~/x" are in the user's home,
// relative ones join it, and none at all is `default_workdir`, or the home where that is empty.
// Always absolute and clean. kInvalidArgument for another user's "~x" and for paths with a NUL.
base::Result<std::string> ResolvePath(std::string_view path, const User& user,
                                      std::string_view default_workdir);

// The part behind the last slash; "/" for the root.
std::string BaseName(std::string_view path);
// What stands before it: "/a" for "/a/b", "/" for "/a".
std::string ParentOf(std::string_view path);

}  // namespace tinderbox::agent
