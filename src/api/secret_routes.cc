// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Secrets: write-only values. What is answered is what may be known of one.
#include <boost/json.hpp>

#include "api/control.h"
#include "api/error_map.h"
#include "api/query_fields.h"
#include "api/request_fields.h"
#include "api/sandbox_json.h"

namespace tinderbox::api {
namespace {

using base::Code;
using base::Result;
using secret::SecretInfo;
using secret::SecretText;

constexpr std::size_t kMaxPage = 100;

boost::json::object SecretJson(const SecretInfo& info) {
  boost::json::object metadata;
  for (const auto& [key, value] : info.metadata) metadata[key] = value;
  return {{"secretID", info.id},
          {"name", info.name},
          {"currentVersion", info.version},
          {"metadata", std::move(metadata)},
          {"createdAt", Rfc3339(info.created_at_ms)},
          {"updatedAt", Rfc3339(info.updated_at_ms)}};
}

struct SecretBody {
  std::string name;
  SecretText value;
  std::optional<secret::Metadata> metadata;
};

Result<SecretBody> ReadBody(const Request& request, bool named) {
  const boost::json::object object = TRY(ParseObject(request.body, false));
  FieldReader fields(object);
  SecretBody body;
  const auto required = [&fields](std::string_view name) {
    auto text = fields.String(name);
    if (!text) fields.Fail(name, "is required");
    return std::move(text).value_or("");
  };
  if (named) body.name = required("name");
  body.value = SecretText(required("value"));
  body.metadata = fields.StringMap("metadata");
  TRY(fields.Finish());
  return body;
}

Answer Create(ControlContext& context, const Request& request) {
  const auto body = ReadBody(request, true);
  if (!body) return ErrorAnswer(body.error());
  const auto made =
      context.secrets.Create(body->name, body->value, body->metadata.value_or(secret::Metadata()));
  return made ? JsonAnswer(201, SecretJson(*made)) : ErrorAnswer(made.error());
}

Answer Update(ControlContext& context, const Request& request) {
  const auto body = ReadBody(request, false);
  if (!body) return ErrorAnswer(body.error());
  const auto updated = context.secrets.Update(request.params[0], body->value, body->metadata);
  return updated ? JsonAnswer(200, SecretJson(*updated)) : ErrorAnswer(updated.error());
}

Answer Get(ControlContext& context, const Request& request) {
  const auto found = context.secrets.Get(request.params[0]);
  return found ? JsonAnswer(200, SecretJson(*found)) : ErrorAnswer(found.error());
}

Answer Remove(ControlContext& context, const Request& request) {
  const auto removed = context.secrets.Remove(request.params[0]);
  return removed ? EmptyAnswer(204) : ErrorAnswer(removed.error());
}

// In the order of names; a page goes on behind the name that the token is, be it there still or
// not.
Answer List(ControlContext& context, const Request& request) {
  const auto limit = ReadCount(request, "limit", kMaxPage, {1, kMaxPage});
  if (!limit) return ErrorAnswer(limit.error());
  std::string after;
  if (const auto token = request.Query("nextToken"); !token.empty()) {
    const auto name = secret::NormalSecretName(token);
    if (!name) {
      return ErrorAnswer(Code::kInvalidArgument, "query parameter 'nextToken' is not one of ours");
    }
    after = *name;
  }
  auto list = context.secrets.List(after, *limit + 1);
  if (!list) return ErrorAnswer(list.error());
  const bool more = list->size() > *limit;
  if (more) list->pop_back();
  boost::json::array out;
  for (const SecretInfo& info : *list) out.push_back(SecretJson(info));
  Answer answer = JsonAnswer(200, std::move(out));
  if (more) answer.headers.Add("X-Next-Token", list->back().name);
  return answer;
}

}  // namespace

std::vector<Route> SecretRoutes() {
  return {
      {"GET", "/secrets", Lane::kQuick, List},
      {"POST", "/secrets", Lane::kQuick, Create},
      {"GET", "/secrets/{secret}", Lane::kQuick, Get},
      {"POST", "/secrets/{secret}", Lane::kQuick, Update},
      {"DELETE", "/secrets/{secret}", Lane::kQuick, Remove},
  };
}

}  // namespace tinderbox::api
