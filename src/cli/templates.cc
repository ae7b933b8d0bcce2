// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox snapshot, template, prune.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "cli/agent.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/quote.h"
#include "cli/shell.h"
#include "cli/table.h"

namespace tinderbox::cli {
namespace {

namespace json = boost::json;

bool IsTrue(const json::value& object, std::string_view key) {
  const json::object* members = object.if_object();
  const json::value* found = members ? members->if_contains({key.data(), key.size()}) : nullptr;
  return found && found->is_bool() && found->get_bool();
}

std::string Names(const json::value& info) {
  const json::object* members = info.if_object();
  const json::value* names = members ? members->if_contains("names") : nullptr;
  std::string text;
  for (const json::value& name : names && names->is_array() ? names->get_array() : json::array()) {
    if (!name.is_string()) continue;
    if (!text.empty()) text += ",";
    text += name.get_string();
  }
  return text.empty() ? "-" : text;
}

std::string Size(std::int64_t bytes) {
  if (bytes < (1 << 20)) return fmt::format("{} KiB", bytes >> 10);
  if (bytes < (std::int64_t{10} << 30)) return fmt::format("{} MiB", bytes >> 20);
  return fmt::format("{} GiB", bytes >> 30);
}

// How a sandbox starts from it.
std::string Start(const json::value& info) {
  if (!TextAt(info, "misfit").empty()) return "boot (misfit)";
  if (!IsTrue(info, "ready")) return "being made";
  return IsTrue(info, "hasMemory") ? "restore" : "boot";
}

base::Result<json::array> ListTemplates(Session& session) {
  json::value answer = TRY(session.CallJson("GET", "/tinderbox/v1/templates"));
  if (!answer.is_array()) {
    return base::Fail(base::Code::kDataLoss, "list templates: the answer is no JSON array");
  }
  return std::move(answer.get_array());
}

base::Result<int> ShowList(const Session& session, const json::array& list, bool quiet,
                           const std::string& table) {
  if (quiet) {
    std::string ids;
    for (const json::value& each : list) ids += TextAt(each, "templateID") + "\n";
    TRY(Print(ids));
  } else if (session.json()) {
    TRY(PrintJson(list));
  } else {
    TRY(Print(table));
  }
  return 0;
}

std::string PathOf(const std::string& name) { return "/tinderbox/v1/templates/" + UrlEncode(name); }

}  // namespace

base::Result<int> Execute(Session& session, const SnapshotCreateOptions& options) {
  const std::string id = TRY(session.Resolve(options.sandbox));
  if (!options.start.empty() || !options.ready.empty()) {
    const Agent agent = TRY(Agent::Find(session, id, ""));
    TRY_CTX(StartAndAwaitReady(
                agent,
                {.start = options.start, .ready = options.ready, .ready_time = options.ready_time}),
            fmt::format("snapshot sandbox '{}'", options.sandbox));
  }
  json::object body;
  if (!options.name.empty()) body["name"] = options.name;
  if (options.disk_only) body["memory"] = false;
  const json::value snapshot = TRY(session.CallJson("POST", "/sandboxes/" + id + "/snapshots", body,
                                                    base::Deadline::After(kCreateTime)));
  if (session.json()) {
    TRY(PrintJson(snapshot));
  } else {
    TRY(Print(TextAt(snapshot, "snapshotID") + "\n"));
  }
  return 0;
}

base::Result<int> Execute(Session& session, const SnapshotListOptions& options) {
  std::string of;
  if (!options.sandbox.empty()) {
    // Snapshots outlive their sandboxes, which can then be named by their ids alone.
    auto id = session.Resolve(options.sandbox);
    if (!id && id.error().code() != base::Code::kNotFound) return std::unexpected(id.error());
    of = id.value_or(options.sandbox);
  }
  json::array snapshots;
  Table table({"ID", "NAME", "SANDBOX", "START", "MEMORY", "STORED", "SANDBOXES", "CREATED"});
  for (json::value& each : TRY(ListTemplates(session))) {
    if (!IsTrue(each, "isSnapshot")) continue;
    if (!of.empty() && TextAt(each, "sourceSandbox") != of) continue;
    table.Add({TextAt(each, "templateID"), Names(each), TextAt(each, "sourceSandbox"), Start(each),
               fmt::format("{} MiB", NumberAt(each, "memoryMB")),
               Size(NumberAt(each, "storedBytes")), std::to_string(NumberAt(each, "sandboxes")),
               TextAt(each, "createdAt")});
    snapshots.push_back(std::move(each));
  }
  return ShowList(session, snapshots, options.quiet, table.ToString());
}

base::Result<int> Execute(Session& session, const TemplatesOptions& options) {
  const json::array templates = TRY(ListTemplates(session));
  Table table({"NAME", "ID", "KIND", "CPUS", "MEMORY", "DISK", "STORED", "START", "CREATED"});
  for (const json::value& each : templates) {
    table.Add({Names(each), TextAt(each, "templateID"),
               IsTrue(each, "isSnapshot") ? "snapshot" : "template",
               std::to_string(NumberAt(each, "cpuCount")),
               fmt::format("{} MiB", NumberAt(each, "memoryMB")),
               fmt::format("{} MiB", NumberAt(each, "diskSizeMB")),
               Size(NumberAt(each, "storedBytes")), Start(each), TextAt(each, "createdAt")});
  }
  return ShowList(session, templates, options.quiet, table.ToString());
}

base::Result<int> Execute(Session& session, const TemplateRemoveOptions& options) {
  json::array report;
  int status = 0;
  for (const std::string& name : options.templates) {
    const auto removed = session.Call("DELETE", "/templates/" + UrlEncode(name), std::nullopt,
                                      base::Deadline::After(kCreateTime));
    if (!removed && !(options.force && removed.error().code() == base::Code::kNotFound)) {
      PrintError(removed.error());
      status = 1;
      continue;
    }
    report.push_back(json::object{{"template", name}});
    if (!session.json()) TRY(Print(name + "\n"));
  }
  if (session.json()) TRY(PrintJson(report));
  return status;
}

base::Result<int> Execute(Session& session, const TemplateInspectOptions& options) {
  json::array found;
  for (const std::string& name : options.templates) {
    found.push_back(TRY(session.CallJson("GET", PathOf(name))));
  }
  TRY(PrintJson(found.size() == 1 ? found.front() : json::value(found)));
  return 0;
}

base::Result<int> Execute(Session& session, const VerifyOptions& options) {
  json::array report;
  int status = 0;
  for (const std::string& name : options.templates) {
    const auto whole = session.Call("POST", PathOf(name) + "/verify", json::object(),
                                    base::Deadline::After(kCreateTime));
    if (!whole) {
      PrintError(whole.error());
      status = 1;
    } else if (!session.json()) {
      TRY(Print(fmt::format("{}: {}\n", name, Coloured(Colour::kGreen, "ok"))));
    }
    report.push_back(json::object{{"template", name}, {"ok", whole.has_value()}});
  }
  if (session.json()) TRY(PrintJson(report));
  return status;
}

base::Result<int> Execute(Session& session, const PruneOptions&) {
  const json::value pruned = TRY(session.CallJson("POST", "/tinderbox/v1/prune", json::object(),
                                                  base::Deadline::After(kCreateTime)));
  if (session.json()) {
    TRY(PrintJson(pruned));
    return 0;
  }
  const json::object* members = pruned.if_object();
  const json::value* removed = members ? members->if_contains("removed") : nullptr;
  std::string text;
  for (const json::value& line :
       removed && removed->is_array() ? removed->get_array() : json::array()) {
    if (line.is_string()) text += "removed " + std::string(line.get_string()) + "\n";
  }
  text += fmt::format("{} freed\n", Size(NumberAt(pruned, "freedBytes")));
  TRY(Print(text));
  return 0;
}

}  // namespace tinderbox::cli
