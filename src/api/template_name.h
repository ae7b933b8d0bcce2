// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

namespace tinderbox::api {

// The one namespace that names may stand in: E2B's "team slug", of which we have one.
inline constexpr std::string_view kNamespace = "tinderbox";

// "[namespace/]name[:tag]", trimmed, in lower case, without our namespace and without the tag
// ":default", which mean nothing more: as the manager knows names. kInvalidArgument otherwise.
base::Result<std::string> NormalTemplateName(std::string_view text);

// "mine" and "mine:v1" as E2B writes them: "tinderbox/mine:default", "tinderbox/mine:v1".
std::string FullTemplateName(std::string_view name);

struct NameParts {
  std::string_view name;
  std::string_view tag;  // "default" where none is written
};
NameParts SplitTemplateName(std::string_view normal);

}  // namespace tinderbox::api
