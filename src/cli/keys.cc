// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox key.
#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/quote.h"
#include "cli/table.h"

namespace tinderbox::cli {
namespace {

namespace json = boost::json;
using base::Code;
using base::Result;

constexpr char kKeys[] = "/tinderbox/v1/api-keys";

std::string PathOf(const std::string& id) { return std::string(kKeys) + "/" + UrlEncode(id); }

// The key alone, for scripts. It is not shown again.
Result<int> PrintMade(const Session& session, const json::value& made) {
  if (session.json()) {
    TRY(PrintJson(made));
  } else {
    TRY(Print(TextAt(made, "key") + "\n"));
  }
  return 0;
}

std::string Or(const std::string& text, const char* other) { return text.empty() ? other : text; }

}  // namespace

Result<int> Execute(Session& session, const KeyCreateOptions& options) {
  json::object body{{"label", options.label}};
  if (options.expires) body["expiresIn"] = options.expires->count();
  return PrintMade(session, TRY(session.CallJson("POST", kKeys, body)));
}

Result<int> Execute(Session& session, const KeyListOptions& options) {
  const json::value keys = TRY(session.CallJson("GET", kKeys));
  if (!keys.is_array()) {
    return base::Fail(Code::kDataLoss, "list keys: the response is not a JSON array");
  }
  if (session.json() && !options.quiet) {
    TRY(PrintJson(keys));
    return 0;
  }
  Table table({"ID", "LABEL", "CREATED", "LAST USED", "EXPIRES"});
  std::string ids;
  for (const json::value& each : keys.get_array()) {
    ids += TextAt(each, "id") + "\n";
    const json::value* expired =
        each.is_object() ? each.get_object().if_contains("expired") : nullptr;
    const bool over = expired != nullptr && expired->is_bool() && expired->get_bool();
    table.Add({TextAt(each, "id"), TextAt(each, "label"), TextAt(each, "createdAt"),
               Or(TextAt(each, "lastUsedAt"), "never"),
               Or(TextAt(each, "expiresAt"), "never") + (over ? " (expired)" : "")});
  }
  TRY(Print(options.quiet ? ids : table.ToString()));
  return 0;
}

Result<int> Execute(Session& session, const KeyRemoveOptions& options) {
  json::array report;
  int status = 0;
  for (const std::string& id : options.keys) {
    const auto removed =
        session.Call("DELETE", PathOf(id), std::nullopt, base::Deadline::After(kCallTime));
    if (!removed && !(options.force && removed.error().code() == Code::kNotFound)) {
      PrintError(removed.error());
      status = 1;
      continue;
    }
    report.push_back(json::object{{"id", id}});
    if (!session.json()) TRY(Print(id + "\n"));
  }
  if (session.json()) TRY(PrintJson(report));
  return status;
}

Result<int> Execute(Session& session, const KeyRotateOptions& options) {
  json::object body;
  if (options.grace) body["graceSeconds"] = options.grace->count();
  return PrintMade(session, TRY(session.CallJson("POST", PathOf(options.key) + "/rotate", body)));
}

}  // namespace tinderbox::cli
