// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/answer.h"

#include <boost/json/serialize.hpp>
#include <utility>

namespace tinderbox::api {

Answer JsonAnswer(unsigned status, const boost::json::value& value) {
  return {status, {{"Content-Type", "application/json"}}, boost::json::serialize(value)};
}

Answer EmptyAnswer(unsigned status) { return {status, {}, {}}; }

Answer TextAnswer(unsigned status, std::string type, std::string text) {
  return {status, {{"Content-Type", std::move(type)}}, std::move(text)};
}

}  // namespace tinderbox::api
