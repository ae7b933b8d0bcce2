// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Pause, resume, connect, fork, snapshots; and our own rollback.
#include <fmt/format.h>

#include <boost/json.hpp>
#include <tuple>

#include "api/control.h"
#include "api/create_body.h"
#include "api/error_map.h"
#include "api/query_fields.h"
#include "api/request_fields.h"
#include "api/sandbox_json.h"
#include "api/template_json.h"
#include "api/template_name.h"

namespace tinderbox::api {
namespace {

using base::Code;
using base::Result;
using sandbox::PauseMode;
using sandbox::SandboxInfo;
using sandbox::TemplateInfo;
using std::chrono::seconds;

constexpr std::int64_t kMaxForks = 100;
constexpr std::size_t kMaxPage = 100;

Answer SandboxAnswer(ControlContext& context, bool timings, unsigned status,
                     const SandboxInfo& info) {
  boost::json::object out = SandboxJson(info, context.domain);
  if (timings) AddTimings(out, info);
  return JsonAnswer(status, std::move(out));
}

PauseMode ModeOf(std::optional<bool> memory) {
  return memory.value_or(true) ? PauseMode::kFull : PauseMode::kFilesystem;
}

// What could not be kept now leaves the sandbox running: E2B's 503, which no client shall repeat
// by itself.
Answer NotKept(const base::Error& error) {
  switch (error.code()) {
    case Code::kUnavailable:
    case Code::kResourceExhausted:
    case Code::kDeadlineExceeded: return Refusal(503, error);
    default: return ErrorAnswer(error);
  }
}

Answer Pause(ControlContext& context, const Request& request) {
  const auto body = ParseObject(request.body, true);
  if (!body) return ErrorAnswer(body.error());
  FieldReader fields(*body);
  sandbox::PauseRequest pause;
  pause.mode = ModeOf(fields.Bool("memory"));
  pause.require_healthy = fields.Bool("requireHealthyGuest").value_or(false);
  if (const auto read = fields.Finish(); !read) return ErrorAnswer(read.error());
  const auto info = FindVisible(context, request);
  if (!info) return ErrorAnswer(info.error());
  const auto paused = context.manager.Pause(info->id, pause);
  return paused ? EmptyAnswer(204) : NotKept(paused.error());
}

// A memory in which the agent hung would bring the hanging agent back.
std::optional<Answer> RefuseSilentMemory(const SandboxInfo& info, bool reboot) {
  const bool silent = info.agent_silent_at_pause && info.pause_mode == PauseMode::kFull;
  if (E2bState(info.state) != "paused" || !silent || reboot) return std::nullopt;
  return Refusal(
      409,
      base::Error(Code::kFailedPrecondition,
                  fmt::format("sandbox '{}' cannot be resumed with its memory: its agent did not "
                              "answer when it was paused",
                              info.id))
          .WithRemedy("Resume it with \"memory\": false: it boots from its disk."),
      "sandbox_snapshot_guest_agent_unresponsive");
}

// `fallback`: the timeout where none is given; none: it has to be given.
Result<sandbox::ResumeRequest> ReadResume(const Request& request,
                                          std::optional<std::int64_t> fallback, bool old) {
  const boost::json::object object = TRY(ParseObject(request.body, fallback.has_value()));
  FieldReader fields(object);
  sandbox::ResumeRequest resume;
  auto timeout = fields.Integer("timeout", old ? 1 : 0, kMaxTimeoutSeconds);
  if (!timeout) timeout = fallback;
  if (timeout) {
    resume.timeout = seconds(*timeout);
  } else {
    fields.Fail("timeout", "is required");
  }
  resume.reboot = !fields.Bool("memory").value_or(true);
  if (old) {
    if (const auto pause = fields.Bool("autoPause")) {
      resume.on_timeout = *pause ? sandbox::TimeoutAction::kPause : sandbox::TimeoutAction::kKill;
    }
  }
  TRY(fields.Finish());
  return resume;
}

Answer Connect(ControlContext& context, const Request& request,
               std::optional<std::int64_t> fallback) {
  const auto resume = ReadResume(request, fallback, false);
  if (!resume) return ErrorAnswer(resume.error());
  const auto timings = WantsTimings(request);
  if (!timings) return ErrorAnswer(timings.error());
  const auto info = FindVisible(context, request);
  if (!info) return ErrorAnswer(info.error());
  if (auto refused = RefuseSilentMemory(*info, resume->reboot)) return *refused;
  const auto connected = context.manager.Connect(info->id, *resume);
  if (!connected) return ErrorAnswer(connected.error());
  return SandboxAnswer(context, *timings, connected->resumed ? 201 : 200, connected->info);
}

Answer ConnectV1(ControlContext& context, const Request& request) {
  return Connect(context, request, std::nullopt);
}

Answer ConnectV2(ControlContext& context, const Request& request) {
  return Connect(context, request, 300);
}

Answer Resume(ControlContext& context, const Request& request) {
  const auto resume = ReadResume(request, 15, true);
  if (!resume) return ErrorAnswer(resume.error());
  const auto timings = WantsTimings(request);
  if (!timings) return ErrorAnswer(timings.error());
  const auto info = FindVisible(context, request);
  if (!info) return ErrorAnswer(info.error());
  if (auto refused = RefuseSilentMemory(*info, resume->reboot)) return *refused;
  const auto resumed = context.manager.Resume(info->id, *resume);
  if (!resumed) return ErrorAnswer(resumed.error());
  return SandboxAnswer(context, *timings, 201, *resumed);
}

Answer Fork(ControlContext& context, const Request& request) {
  const auto body = ParseObject(request.body, true);
  if (!body) return ErrorAnswer(body.error());
  FieldReader fields(*body);
  sandbox::ForkRequest fork;
  fork.count = static_cast<std::uint32_t>(fields.Integer("count", 1, kMaxForks).value_or(1));
  fork.timeout = seconds(fields.Integer("timeout", 1, kMaxTimeoutSeconds).value_or(15));
  if (const auto read = fields.Finish(); !read) return ErrorAnswer(read.error());
  const auto timings = WantsTimings(request);
  if (!timings) return ErrorAnswer(timings.error());
  const auto info = FindVisible(context, request);
  if (!info) return ErrorAnswer(info.error());
  const auto children = context.manager.Fork(info->id, fork);
  if (!children) return NotKept(children.error());
  boost::json::array list;
  for (const Result<SandboxInfo>& child : *children) {
    if (child) {
      boost::json::object out = SandboxJson(*child, context.domain);
      if (*timings) AddTimings(out, *child);
      list.emplace_back(boost::json::object{{"sandbox", std::move(out)}});
    } else {
      list.emplace_back(boost::json::object{{"error", ErrorJson(child.error())}});
    }
  }
  return JsonAnswer(201, std::move(list));
}

// The name that a snapshot is to bear: "mine", or "mine:v1".
std::string ReadName(FieldReader& fields) {
  const auto name = fields.String("name");
  if (!name || name->empty()) return {};
  auto normal = NormalTemplateName(*name);
  if (normal) return std::move(*normal);
  fields.Fail("name", fmt::format("is wrong: {}", normal.error().message()));
  return {};
}

Answer Snapshot(ControlContext& context, const Request& request) {
  const auto body = ParseObject(request.body, true);
  if (!body) return ErrorAnswer(body.error());
  FieldReader fields(*body);
  sandbox::SnapshotOptions options;
  options.name = ReadName(fields);
  options.mode = ModeOf(fields.Bool("memory"));
  if (const auto read = fields.Finish(); !read) return ErrorAnswer(read.error());
  const auto info = FindVisible(context, request);
  if (!info) return ErrorAnswer(info.error());
  const auto snapshot = context.manager.Snapshot(info->id, options);
  return snapshot ? JsonAnswer(201, SnapshotJson(*snapshot)) : NotKept(snapshot.error());
}

// Newest first; a page goes on behind the entry that the token names, be it there still or not.
bool Before(const TemplateInfo& a, const TemplateInfo& b) {
  return std::tie(b.created_at, a.id) < std::tie(a.created_at, b.id);
}

struct SnapshotQuery {
  std::string sandbox;
  std::string name;
  std::size_t limit = kMaxPage;
  std::optional<TemplateInfo> after;
};

Result<SnapshotQuery> ReadSnapshotQuery(const Request& request) {
  SnapshotQuery query;
  if (const auto id = request.Query("sandboxID"); !id.empty()) query.sandbox = TRY(SandboxIdOf(id));
  if (const auto name = request.Query("name"); !name.empty()) {
    query.name = TRY(NormalTemplateName(name));
  }
  query.limit = TRY(ReadCount(request, "limit", query.limit, {1, kMaxPage}));
  if (const auto token = request.Query("nextToken"); !token.empty()) {
    const auto at = token.find('~');
    if (at == token.npos) {
      return base::Fail(Code::kInvalidArgument, "query parameter 'nextToken' is not one of ours");
    }
    query.after.emplace();
    query.after->created_at = token.substr(0, at);
    query.after->id = token.substr(at + 1);
  }
  return query;
}

bool Matches(const TemplateInfo& info, const SnapshotQuery& query) {
  if (!info.is_snapshot || (!query.sandbox.empty() && info.source_sandbox != query.sandbox)) {
    return false;
  }
  if (query.after && !Before(*query.after, info)) return false;
  if (query.name.empty() || info.id == query.name) return true;
  // Without a tag: all of that name.
  const bool any_tag = !query.name.contains(':');
  return std::ranges::any_of(info.names, [&](const std::string& name) {
    return name == query.name || (any_tag && SplitTemplateName(name).name == query.name);
  });
}

Answer ListSnapshots(ControlContext& context, const Request& request) {
  const auto query = ReadSnapshotQuery(request);
  if (!query) return ErrorAnswer(query.error());
  auto all = context.manager.Templates();
  if (!all) return ErrorAnswer(all.error());
  std::erase_if(*all, [&query](const TemplateInfo& each) { return !Matches(each, *query); });
  std::ranges::sort(*all, Before);
  std::string next;
  if (all->size() > query->limit) {
    const TemplateInfo& last = all->at(query->limit - 1);
    next = fmt::format("{}~{}", last.created_at, last.id);
    all->resize(query->limit);
  }
  boost::json::array list;
  for (const TemplateInfo& each : *all) list.push_back(SnapshotJson(each));
  Answer answer = JsonAnswer(200, std::move(list));
  if (!next.empty()) answer.headers.Add("X-Next-Token", next);
  return answer;
}

Answer Rollback(ControlContext& context, const Request& request) {
  const auto body = ParseObject(request.body, false);
  if (!body) return ErrorAnswer(body.error());
  FieldReader fields(*body);
  const auto name = fields.String("snapshot");
  const auto normal = NormalTemplateName(name.value_or(""));
  if (!name) {
    fields.Fail("snapshot", "is required");
  } else if (!normal) {
    fields.Fail("snapshot", fmt::format("is wrong: {}", normal.error().message()));
  }
  if (const auto read = fields.Finish(); !read) return ErrorAnswer(read.error());
  const auto timings = WantsTimings(request);
  if (!timings) return ErrorAnswer(timings.error());
  const auto info = FindVisible(context, request);
  if (!info) return ErrorAnswer(info.error());
  const auto rolled = context.manager.Rollback(info->id, *normal);
  if (!rolled) return NotKept(rolled.error());
  return SandboxAnswer(context, *timings, 200, *rolled);
}

}  // namespace

std::vector<Route> LifecycleRoutes() {
  return {
      {"POST", "/sandboxes/{id}/pause", Lane::kSlow, Pause},
      {"POST", "/sandboxes/{id}/connect", Lane::kSlow, ConnectV1},
      {"POST", "/v2/sandboxes/{id}/connect", Lane::kSlow, ConnectV2},
      {"POST", "/sandboxes/{id}/resume", Lane::kSlow, Resume},
      {"POST", "/sandboxes/{id}/fork", Lane::kSlow, Fork},
      {"POST", "/sandboxes/{id}/snapshots", Lane::kSlow, Snapshot},
      {"GET", "/snapshots", Lane::kQuick, ListSnapshots},
      {"POST", "/tinderbox/v1/sandboxes/{id}/rollback", Lane::kSlow, Rollback},
  };
}

}  // namespace tinderbox::api
