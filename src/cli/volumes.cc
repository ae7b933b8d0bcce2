// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox volume.
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

Result<json::array> ListAll(Session& session) {
  json::value answer = TRY(session.CallJson("GET", "/volumes"));
  if (answer.is_array()) return std::move(answer.get_array());
  return base::Fail(Code::kDataLoss, "list volumes: the answer is no JSON array");
}

// The id of the volume that bears this name, or this id.
Result<std::string> Resolve(Session& session, const std::string& name) {
  for (const json::value& each : TRY(ListAll(session))) {
    if (TextAt(each, "name") == name || TextAt(each, "volumeID") == name) {
      return TextAt(each, "volumeID");
    }
  }
  return base::Fail(Code::kNotFound, fmt::format("there is no volume '{}'", name));
}

}  // namespace

Result<int> Execute(Session& session, const VolumeCreateOptions& options) {
  const json::value made =
      TRY(session.CallJson("POST", "/volumes", json::object{{"name", options.name}}));
  if (session.json()) {
    TRY(PrintJson(made));
  } else {
    TRY(Print(TextAt(made, "name") + "\n"));
  }
  return 0;
}

namespace {

// "12 MiB of 16384 MiB"; without a limit what it holds alone.
std::string UsedOf(const json::value& volume) {
  const std::int64_t limit = NumberAt(volume, "limitBytes") >> 20;
  std::string used = fmt::format("{} MiB", NumberAt(volume, "usedBytes") >> 20);
  if (limit > 0) used += fmt::format(" of {} MiB", limit);
  return used;
}

}  // namespace

Result<int> Execute(Session& session, const VolumeListOptions& options) {
  const json::array volumes = TRY(ListAll(session));
  if (session.json() && !options.quiet) {
    TRY(PrintJson(volumes));
    return 0;
  }
  Table table({"NAME", "ID", "USED"});
  std::string names;
  for (const json::value& each : volumes) {
    names += TextAt(each, "name") + "\n";
    table.Add({TextAt(each, "name"), TextAt(each, "volumeID"), UsedOf(each)});
  }
  TRY(Print(options.quiet ? names : table.ToString()));
  return 0;
}

Result<int> Execute(Session& session, const VolumeRemoveOptions& options) {
  json::array report;
  int status = 0;
  for (const std::string& name : options.volumes) {
    const auto remove = [&]() -> Result<> {
      const std::string id = TRY(Resolve(session, name));
      TRY(session.Call("DELETE", "/volumes/" + UrlEncode(id), std::nullopt,
                       base::Deadline::After(kCallTime)));
      return {};
    };
    const auto removed = remove();
    if (!removed && !(options.force && removed.error().code() == Code::kNotFound)) {
      PrintError(removed.error());
      status = 1;
      continue;
    }
    report.push_back(json::object{{"volume", name}});
    if (!session.json()) TRY(Print(name + "\n"));
  }
  if (session.json()) TRY(PrintJson(report));
  return status;
}

}  // namespace tinderbox::cli
