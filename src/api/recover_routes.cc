// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The entries of lost+found: /tinderbox/v1/lost.
#include <boost/json.hpp>

#include "api/control.h"
#include "api/error_map.h"
#include "api/request_fields.h"

namespace tinderbox::api {
namespace {

Answer List(ControlContext& context, const Request&) {
  auto list = context.host.Lost();
  return list ? JsonAnswer(200, std::move(*list)) : ErrorAnswer(list.error());
}

Answer Adopt(ControlContext& context, const Request& request) {
  const auto object = ParseObject(request.body, true);
  if (!object) return ErrorAnswer(object.error());
  FieldReader fields(*object);
  const std::string name = fields.String("name").value_or("");
  if (const auto read = fields.Finish(); !read) return ErrorAnswer(read.error());
  auto adopted = context.host.AdoptLost(request.params.at(0), name);
  return adopted ? JsonAnswer(200, std::move(*adopted)) : ErrorAnswer(adopted.error());
}

Answer Remove(ControlContext& context, const Request& request) {
  const auto removed = context.host.RemoveLost(request.params.at(0));
  return removed ? EmptyAnswer(204) : ErrorAnswer(removed.error());
}

}  // namespace

std::vector<Route> RecoverRoutes() {
  return {
      {"GET", "/tinderbox/v1/lost", Lane::kSlow, List},
      {"POST", "/tinderbox/v1/lost/{name}/adopt", Lane::kSlow, Adopt},
      {"DELETE", "/tinderbox/v1/lost/{name}", Lane::kSlow, Remove},
  };
}

}  // namespace tinderbox::api
