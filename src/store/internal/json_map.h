// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>

#include "base/error.h"

// A map of strings as the JSON object in which columns hold it.
namespace tinderbox::store::internal {

std::string MapToJson(const std::map<std::string, std::string>& map);
// kDataLoss for what is no such object.
base::Result<std::map<std::string, std::string>> MapFromJson(const std::string& text);

}  // namespace tinderbox::store::internal
