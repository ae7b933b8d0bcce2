// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox pause, resume, fork, rollback.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/new_sandbox.h"
#include "cli/output.h"

namespace tinderbox::cli {
namespace {

namespace json = boost::json;

base::Result<int> ShowStarted(const Session& session, const json::value& sandbox) {
  if (session.json()) {
    TRY(PrintJson(sandbox));
  } else {
    TellTimings(sandbox);
    TRY(Print(TextAt(sandbox, "sandboxID") + "\n"));
  }
  return 0;
}

}  // namespace

base::Result<int> Execute(Session& session, const PauseOptions& options) {
  const json::array known = TRY(session.ListSandboxes());
  json::object body;
  if (options.disk_only) body["memory"] = false;
  if (options.require_healthy) body["requireHealthyGuest"] = true;
  json::array report;
  int status = 0;
  for (const std::string& reference : options.sandboxes) {
    const auto id = FindSandbox(known, reference);
    const auto paused = id ? session.Call("POST", "/sandboxes/" + *id + "/pause", body,
                                          base::Deadline::After(kCreateTime))
                           : std::unexpected(id.error());
    if (!paused) {
      PrintError(paused.error());
      status = 1;
      continue;
    }
    report.push_back(json::object{{"sandboxID", *id}});
    if (!session.json()) TRY(Print(*id + "\n"));
  }
  if (session.json()) TRY(PrintJson(report));
  return status;
}

base::Result<int> Execute(Session& session, const ResumeOptions& options) {
  const std::string id = TRY(session.Resolve(options.sandbox));
  json::object body{{"timeout", options.timeout.value_or(kDefaultTimeout).count()}};
  if (!options.on_timeout.empty()) body["autoPause"] = options.on_timeout == "pause";
  if (options.reboot) body["memory"] = false;
  const json::value resumed =
      TRY(session.CallJson("POST", WithTimings("/sandboxes/" + id + "/resume", options.timings),
                           body, base::Deadline::After(kCreateTime)));
  return ShowStarted(session, resumed);
}

base::Result<int> Execute(Session& session, const ForkOptions& options) {
  const std::string id = TRY(session.Resolve(options.sandbox));
  const json::object body{{"count", options.count},
                          {"timeout", options.timeout.value_or(kDefaultTimeout).count()}};
  const json::value answer =
      TRY(session.CallJson("POST", WithTimings("/sandboxes/" + id + "/fork", options.timings), body,
                           base::Deadline::After(kCreateTime)));
  int status = 0;
  for (const json::value& each : answer.is_array() ? answer.get_array() : json::array()) {
    const json::object* child = each.if_object();
    const json::value* sandbox = child ? child->if_contains("sandbox") : nullptr;
    const json::value* error = child ? child->if_contains("error") : nullptr;
    if (error) {
      PrintError(base::Error(base::Code::kUnavailable,
                             fmt::format("fork sandbox '{}': {}", id, TextAt(*error, "message")))
                     .WithRemedy(TextAt(*error, "remedy")));
      status = 1;
    } else if (sandbox && !session.json()) {
      TRY(ShowStarted(session, *sandbox));
    }
  }
  if (session.json()) TRY(PrintJson(answer));
  return status;
}

base::Result<int> Execute(Session& session, const RollbackOptions& options) {
  const std::string id = TRY(session.Resolve(options.sandbox));
  const json::value rolled = TRY(session.CallJson(
      "POST", WithTimings("/tinderbox/v1/sandboxes/" + id + "/rollback", options.timings),
      json::object{{"snapshot", options.snapshot}}, base::Deadline::After(kCreateTime)));
  return ShowStarted(session, rolled);
}

}  // namespace tinderbox::cli
