// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// API keys. Only root on the unix socket manages them: a key must not make or end others.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <chrono>
#include <optional>

#include "api/auth.h"
#include "api/control.h"
#include "api/error_map.h"
#include "api/request_fields.h"
#include "api/sandbox_json.h"
#include "api/text.h"

namespace tinderbox::api {
namespace {

using base::Code;
using base::Result;
using store::KeyRecord;
using store::KeyTable;

constexpr std::int64_t kMostSeconds = std::int64_t{100} * 366 * 24 * 3600;

std::int64_t NowMs() {
  using std::chrono::milliseconds;
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<milliseconds>(now).count();
}

std::int64_t InSeconds(std::int64_t seconds) { return NowMs() + seconds * 1000; }

boost::json::value TimeOrNull(std::int64_t ms) {
  return ms == 0 ? boost::json::value(nullptr) : boost::json::value(Rfc3339(ms));
}

boost::json::object KeyJson(const KeyRecord& record) {
  return {{"id", record.id},
          {"label", ValidUtf8(record.label)},
          {"createdAt", Rfc3339(record.created_at)},
          {"lastUsedAt", TimeOrNull(record.last_used_at)},
          {"expiresAt", TimeOrNull(record.expires_at)},
          {"expired", !record.ValidAt(NowMs())}};
}

Answer MadeAnswer(const Result<KeyTable::Made>& made) {
  if (!made) return ErrorAnswer(made.error());
  boost::json::object out = KeyJson(made->record);
  out["key"] = made->key;
  return JsonAnswer(201, std::move(out));
}

Result<> RootOnly(const Request& request) {
  if (request.local_root) return {};
  return std::unexpected(
      base::Error(Code::kPermissionDenied, "only root on the unix socket manages API keys")
          .WithRemedy("Run `sudo tinderbox key` on the server itself."));
}

Answer CreateKey(ControlContext& context, const Request& request) {
  if (const auto root = RootOnly(request); !root) return ErrorAnswer(root.error());
  const auto object = ParseObject(request.body, true);
  if (!object) return ErrorAnswer(object.error());
  FieldReader fields(*object);
  const std::string label = fields.String("label").value_or("unnamed");
  if (label.empty() || label.size() > 100) fields.Fail("label", "has 1 to 100 bytes");
  const auto expires_in = fields.Integer("expiresIn", 1, kMostSeconds);
  if (const auto read = fields.Finish(); !read) return ErrorAnswer(read.error());
  return MadeAnswer(context.store.Keys().Create(label, expires_in ? InSeconds(*expires_in) : 0));
}

Answer ListKeys(ControlContext& context, const Request& request) {
  if (const auto root = RootOnly(request); !root) return ErrorAnswer(root.error());
  const auto keys = context.store.Keys().List();
  if (!keys) return ErrorAnswer(keys.error());
  boost::json::array list;
  for (const KeyRecord& record : *keys) list.push_back(KeyJson(record));
  return JsonAnswer(200, std::move(list));
}

Answer RemoveKey(ControlContext& context, const Request& request) {
  if (const auto root = RootOnly(request); !root) return ErrorAnswer(root.error());
  const std::string& id = request.params.at(0);
  const auto removed = context.store.Keys().Remove(id);
  if (!removed) return ErrorAnswer(removed.error());
  if (*removed) return EmptyAnswer(204);
  return ErrorAnswer(Code::kNotFound, fmt::format("API key '{}' not found", id.substr(0, 100)));
}

Answer RotateKey(ControlContext& context, const Request& request) {
  if (const auto root = RootOnly(request); !root) return ErrorAnswer(root.error());
  const auto object = ParseObject(request.body, true);
  if (!object) return ErrorAnswer(object.error());
  FieldReader fields(*object);
  const auto grace = fields.Integer("graceSeconds", 0, kMostSeconds).value_or(0);
  if (const auto read = fields.Finish(); !read) return ErrorAnswer(read.error());
  return MadeAnswer(context.store.Keys().Rotate(request.params.at(0).substr(0, 100),
                                                grace == 0 ? 0 : InSeconds(grace)));
}

// For root, who comes in without a key, and wants to know whether one that it has is still good.
Answer CheckKey(ControlContext& context, const Request& request) {
  const auto found = context.store.Keys().Find(KeyOf(request.headers));
  if (!found) return ErrorAnswer(found.error());
  const std::optional<KeyRecord>& record = *found;
  if (!record) {
    return ErrorAnswer(Code::kNotFound, "the API key in the request is not known here");
  }
  if (record->ValidAt(NowMs())) return EmptyAnswer(204);
  return ErrorAnswer(Code::kNotFound, "the API key in the request has expired");
}

}  // namespace

std::vector<Route> KeyRoutes() {
  return {
      {"GET", "/tinderbox/v1/api-keys", Lane::kQuick, ListKeys},
      {"POST", "/tinderbox/v1/api-keys", Lane::kQuick, CreateKey},
      {"DELETE", "/tinderbox/v1/api-keys/{id}", Lane::kQuick, RemoveKey},
      {"POST", "/tinderbox/v1/api-keys/{id}/rotate", Lane::kQuick, RotateKey},
      {"GET", "/tinderbox/v1/api-key", Lane::kQuick, CheckKey},
  };
}

}  // namespace tinderbox::api
