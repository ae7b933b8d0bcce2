// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox create, ls, ps, inspect, rm, timeout.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <ctime>

#include "cli/agent.h"
#include "cli/commands.h"
#include "cli/duration.h"
#include "cli/new_sandbox.h"
#include "cli/output.h"
#include "cli/quote.h"
#include "cli/table.h"
#include "cli/terminal.h"

namespace tinderbox::cli {
namespace {

namespace json = boost::json;

const json::value* Member(const json::value& value, std::string_view key) {
  const json::object* object = value.if_object();
  return object ? object->if_contains({key.data(), key.size()}) : nullptr;
}

std::string MetadataAt(const json::value& sandbox, std::string_view key) {
  const json::value* metadata = Member(sandbox, "metadata");
  return metadata ? TextAt(*metadata, key) : std::string();
}

std::string Ago(const json::value& sandbox, std::string_view key) {
  const auto when = ParseTimestamp(TextAt(sandbox, key));
  if (!when) return "-";
  const std::int64_t seconds = std::max<std::int64_t>(0, std::time(nullptr) - *when);
  return DescribeDuration(std::chrono::seconds(seconds)) + " ago";
}

std::string Left(const json::value& sandbox) {
  constexpr std::int64_t kCentury = std::int64_t{100} * 365 * 86400;
  const auto end = ParseTimestamp(TextAt(sandbox, "endAt"));
  if (!end || TextAt(sandbox, "state") != "running") return "-";
  const std::int64_t seconds = *end - std::time(nullptr);
  if (seconds > kCentury) return "never";
  return seconds <= 0 ? "now" : "in " + DescribeDuration(std::chrono::seconds(seconds));
}

bool Matches(const json::value& sandbox, const ListOptions& options) {
  if (!options.state.empty() && TextAt(sandbox, "state") != options.state) return false;
  return std::ranges::all_of(options.metadata, [&sandbox](const auto& pair) {
    const json::value* metadata = Member(sandbox, "metadata");
    const json::value* value = metadata ? Member(*metadata, pair.first) : nullptr;
    return value != nullptr && value->is_string() &&
           std::string_view(value->get_string()) == pair.second;
  });
}

std::string SandboxTable(const json::array& sandboxes) {
  Table table({"ID", "NAME", "TEMPLATE", "STATE", "CPUS", "MEMORY", "STARTED", "ENDS"});
  for (const json::value& each : sandboxes) {
    std::string name = TextAt(each, "alias");
    if (name.empty()) name = TextAt(each, "templateID");
    table.Add({TextAt(each, "sandboxID"), MetadataAt(each, "name"), name, TextAt(each, "state"),
               std::to_string(NumberAt(each, "cpuCount")),
               fmt::format("{} MiB", NumberAt(each, "memoryMB")), Ago(each, "startedAt"),
               Left(each)});
  }
  return table.ToString();
}

}  // namespace

base::Result<int> Execute(Session& session, const CreateOptions& options) {
  SignalQueue signals = TRY(SignalQueue::Open());
  const auto created = CreateSandbox(session, options.sandbox, options.env, signals);
  if (!created) {
    if (created.error().code() != base::Code::kCancelled) return std::unexpected(created.error());
    PrintError(base::Error(base::Code::kCancelled, "interrupted; no sandbox was left behind"));
    return 128 + created.error().errno_value();
  }
  if (session.json()) {
    TRY(PrintJson(*created));
  } else {
    TellTimings(*created);
    TRY(Print(TextAt(*created, "sandboxID") + "\n"));
  }
  return 0;
}

base::Result<int> Execute(Session& session, const ListOptions& options) {
  json::array sandboxes = TRY(session.ListSandboxes());
  json::array wanted;
  for (json::value& each : sandboxes) {
    if (Matches(each, options)) wanted.push_back(std::move(each));
  }
  if (options.quiet) {
    std::string ids;
    for (const json::value& each : wanted) ids += TextAt(each, "sandboxID") + "\n";
    TRY(Print(ids));
  } else if (session.json()) {
    TRY(PrintJson(wanted));
  } else {
    TRY(Print(SandboxTable(wanted)));
  }
  return 0;
}

base::Result<int> Execute(Session& session, const ProcessListOptions& options) {
  const std::string id = TRY(session.Resolve(options.sandbox));
  Agent agent = TRY(Agent::Find(session, id, ""));
  const json::value answer =
      TRY(agent.Call("/process.Process/List", json::object(), base::Deadline::After(kCallTime)));
  const json::value* processes = Member(answer, "processes");
  if (session.json()) {
    TRY(PrintJson(processes ? *processes : json::value(json::array())));
    return 0;
  }
  Table table({"PID", "TAG", "COMMAND"});
  for (const json::value& each :
       processes && processes->is_array() ? processes->get_array() : json::array()) {
    const json::value* config = Member(each, "config");
    std::string line = config ? ShellQuote(TextAt(*config, "cmd")) : "";
    const json::value* args = config ? Member(*config, "args") : nullptr;
    if (args && args->is_array()) {
      for (const json::value& arg : args->get_array()) {
        if (arg.is_string()) line += " " + ShellQuote(arg.get_string());
      }
    }
    table.Add({std::to_string(NumberAt(each, "pid")), TextAt(each, "tag"), line});
  }
  TRY(Print(table.ToString()));
  return 0;
}

base::Result<int> Execute(Session& session, const InspectOptions& options) {
  json::array found;
  for (const std::string& reference : options.sandboxes) {
    const std::string id = TRY(session.Resolve(reference));
    found.push_back(TRY(session.CallJson("GET", "/tinderbox/v1/sandboxes/" + id)));
  }
  TRY(PrintJson(found.size() == 1 ? found.front() : json::value(found)));
  return 0;
}

base::Result<int> Execute(Session& session, const RemoveOptions& options) {
  const json::array known = TRY(session.ListSandboxes());
  std::vector<std::string> ids;
  json::array report;
  int status = 0;
  if (options.all) {
    for (const json::value& each : known) ids.push_back(TextAt(each, "sandboxID"));
  }
  for (const std::string& reference : options.sandboxes) {
    auto id = FindSandbox(known, reference);
    if (id) {
      ids.push_back(std::move(*id));
    } else if (!(options.force && id.error().code() == base::Code::kNotFound)) {
      PrintError(id.error());
      status = 1;
    }
  }
  for (const std::string& id : ids) {
    if (const auto removed = RemoveSandbox(session, id); !removed) {
      PrintError(removed.error());
      status = 1;
      continue;
    }
    report.push_back(json::object{{"sandboxID", id}});
    if (!session.json()) TRY(Print(id + "\n"));
  }
  if (session.json()) TRY(PrintJson(report));
  return status;
}

base::Result<int> Execute(Session& session, const TimeoutOptions& options) {
  const std::string id = TRY(session.Resolve(options.sandbox));
  TRY(session.Call("POST", "/sandboxes/" + id + "/timeout",
                   json::object{{"timeout", options.timeout.count()}},
                   base::Deadline::After(kCallTime)));
  if (!session.json()) return 0;
  const json::value detail = TRY(session.CallJson("GET", "/sandboxes/" + id));
  TRY(PrintJson(json::object{{"sandboxID", id}, {"endAt", TextAt(detail, "endAt")}}));
  return 0;
}

}  // namespace tinderbox::cli
