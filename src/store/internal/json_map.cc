// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "store/internal/json_map.h"

#include <boost/json.hpp>

namespace tinderbox::store::internal {

using base::Code;
using Map = std::map<std::string, std::string>;

std::string MapToJson(const Map& map) {
  boost::json::object object;
  for (const auto& [key, value] : map) object[key] = value;
  return boost::json::serialize(object);
}

base::Result<Map> MapFromJson(const std::string& text) {
  boost::system::error_code error;
  const auto value = boost::json::parse(text, error);
  if (error || !value.is_object()) {
    return base::Fail(Code::kDataLoss, "read a map: it is no JSON object");
  }
  Map map;
  for (const auto& [key, item] : value.as_object()) {
    if (!item.is_string()) return base::Fail(Code::kDataLoss, "read a map: a value is no string");
    map.emplace(key, item.as_string());
  }
  return map;
}

}  // namespace tinderbox::store::internal
