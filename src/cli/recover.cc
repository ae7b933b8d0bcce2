// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox recover.
#include <fmt/format.h>

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

constexpr char kLost[] = "/tinderbox/v1/lost";

}  // namespace

Result<int> Execute(Session& session, const RecoverListOptions& options) {
  const json::value answer = TRY(session.CallJson("GET", kLost));
  if (!answer.is_array()) {
    return base::Fail(Code::kDataLoss, "list lost+found: the answer is not a JSON array");
  }
  if (session.json() && !options.quiet) {
    TRY(PrintJson(answer));
    return 0;
  }
  Table table({"ENTRY", "LABEL", "LOST", "WHY", "PATH"});
  std::string names;
  for (const json::value& each : answer.get_array()) {
    names += TextAt(each, "name") + "\n";
    table.Add({TextAt(each, "name"), TextAt(each, "label"), TextAt(each, "lostAt").substr(0, 19),
               TextAt(each, "why"), TextAt(each, "path")});
  }
  TRY(Print(options.quiet ? names : table.ToString()));
  return 0;
}

Result<int> Execute(Session& session, const RecoverAdoptOptions& options) {
  json::object body;
  if (!options.name.empty()) body["name"] = options.name;
  const json::value adopted = TRY(session.CallJson(
      "POST", fmt::format("{}/{}/adopt", kLost, UrlEncode(options.entry)), std::move(body)));
  if (session.json()) {
    TRY(PrintJson(adopted));
  } else {
    const std::string kind = TextAt(adopted, "kind");
    TRY(Print((kind == "volume" ? TextAt(adopted, "label") : TextAt(adopted, "id")) + "\n"));
  }
  return 0;
}

Result<int> Execute(Session& session, const RecoverRemoveOptions& options) {
  json::array report;
  int status = 0;
  for (const std::string& name : options.entries) {
    const auto removed = session.Call("DELETE", fmt::format("{}/{}", kLost, UrlEncode(name)),
                                      std::nullopt, base::Deadline::After(kCallTime));
    if (!removed && !(options.force && removed.error().code() == Code::kNotFound)) {
      PrintError(removed.error());
      status = 1;
      continue;
    }
    report.push_back(json::object{{"entry", name}});
    if (!session.json()) TRY(Print(name + "\n"));
  }
  if (session.json()) TRY(PrintJson(report));
  return status;
}

}  // namespace tinderbox::cli
