// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// E2B's logs: what happened to the sandbox, and its console, line by line, of its present life. The
// console knows no times, but an event knows how many lines came before it: lines stand in their
// place among the events, each a millisecond after what is before it, so that a client that asks
// for what came after the last one misses nothing. Every line is of level "info".
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <limits>

#include "api/control.h"
#include "api/error_map.h"
#include "api/event_json.h"
#include "api/query_fields.h"
#include "api/sandbox_json.h"
#include "api/text.h"

namespace tinderbox::api {
namespace {

using base::Code;
using base::Result;

constexpr std::size_t kMaxLines = 1000;
constexpr std::size_t kMostEvents = 1000;  // the last ones

struct Line {
  std::int64_t ms = 0;
  std::string text;
  bool from_console = false;
};

const char* LoggerOf(const Line& line) { return line.from_console ? "console" : "sandbox"; }

// The lines of a console, to be had one after another; an unfinished last one counts too.
class ConsoleLines {
 public:
  explicit ConsoleLines(std::string_view console) : rest_(console) {}

  // Appends what is left of the first `count` lines of all to `log`.
  void TakeUpTo(std::size_t count, std::vector<Line>& log) {
    for (; taken_ < count && !rest_.empty(); ++taken_) {
      std::string line(rest_.substr(0, rest_.find('\n')));
      rest_.remove_prefix(std::min(line.size() + 1, rest_.size()));
      if (line.ends_with('\r')) line.pop_back();
      if (line.empty()) continue;
      log.push_back({log.back().ms + 1, ValidUtf8(line, true), true});
    }
  }

 private:
  std::string_view rest_;
  std::size_t taken_ = 0;
};

// For a sandbox whose creation is no longer among the events.
Line OldestLine(const sandbox::SandboxInfo& info) {
  const std::string_view from = info.template_name.empty() ? info.template_id : info.template_name;
  return {info.started_at_ms, fmt::format("sandbox {} created: from template '{}'", info.id, from)};
}

bool Begins(const sandbox::Event& event) {
  return event.kind == sandbox::EventKind::kCreated || event.kind == sandbox::EventKind::kResumed;
}

// `events` in the order in which they happened.
std::vector<Line> Merge(const std::vector<sandbox::Event>& events, std::string_view console,
                        const sandbox::SandboxInfo& info) {
  std::vector<Line> log;
  if (events.empty() || events.front().kind != sandbox::EventKind::kCreated) {
    log.push_back(OldestLine(info));
  }
  // Those of an earlier life know nothing of this console, and a life begins with its first event,
  // though a guest that booted has said much by then.
  const std::string life = events.empty() ? std::string() : events.back().execution_id;
  ConsoleLines lines(console);
  for (const sandbox::Event& event : events) {
    if (event.execution_id == life && !Begins(event)) lines.TakeUpTo(event.console_lines, log);
    const std::int64_t next = log.empty() ? event.at_ms : log.back().ms + 1;
    log.push_back({std::max(event.at_ms, next), EventWords(event)});
  }
  lines.TakeUpTo(std::numeric_limits<std::size_t>::max(), log);
  return log;
}

boost::json::object Entry(const Line& line) {
  return {{"timestamp", Rfc3339(line.ms)},
          {"level", "info"},
          {"message", line.text},
          {"fields", {{"logger", LoggerOf(line)}}}};
}

constexpr std::int64_t kMaxTime = std::numeric_limits<std::int64_t>::max();

Result<std::vector<Line>> ReadLines(ControlContext& context, const Request& request) {
  const auto info = TRY(FindVisible(context, request));
  auto events = TRY(context.manager.Events({.sandbox_id = info.id, .limit = kMostEvents}));
  std::ranges::reverse(events);
  const std::string console = TRY(context.manager.Console(info.id, sandbox::kLogConsoleBytes));
  return Merge(events, console, info);
}

// {logs: [{timestamp, line}], logEntries}: the first `limit` lines since `start`.
Answer LogsV1(ControlContext& context, const Request& request) {
  const auto start = ReadInteger(request, "start", 0);
  if (!start) return ErrorAnswer(start.error());
  const auto limit = ReadCount(request, "limit", kMaxLines, {0, kMaxLines});
  if (!limit) return ErrorAnswer(limit.error());
  const auto lines = ReadLines(context, request);
  if (!lines) return ErrorAnswer(lines.error());
  boost::json::array logs, entries;
  for (const Line& line : *lines) {
    if (line.ms < *start) continue;
    if (logs.size() == *limit) break;
    const boost::json::object words{
        {"level", "info"}, {"logger", LoggerOf(line)}, {"message", line.text}};
    logs.push_back({{"timestamp", Rfc3339(line.ms)}, {"line", boost::json::serialize(words)}});
    entries.push_back(Entry(line));
  }
  return JsonAnswer(200, {{"logs", std::move(logs)}, {"logEntries", std::move(entries)}});
}

struct LogQuery {
  std::int64_t cursor = 0;
  std::size_t limit = kMaxLines;
  bool backward = false;
  bool none = false;  // only levels that no line has
  std::string search;
};

Result<LogQuery> ReadLogQuery(const Request& request) {
  LogQuery query;
  const std::string_view direction = request.Query("direction");
  if (!direction.empty() && direction != "forward" && direction != "backward") {
    return base::Fail(Code::kInvalidArgument,
                      "query parameter 'direction' is 'forward' or 'backward'");
  }
  query.backward = direction == "backward";
  query.cursor = TRY(ReadInteger(request, "cursor", query.backward ? kMaxTime : 0));
  query.limit = TRY(ReadCount(request, "limit", kMaxLines, {0, kMaxLines}));
  const std::string_view level = request.Query("level");
  query.none = level == "warn" || level == "error";
  if (!level.empty() && level != "debug" && level != "info" && !query.none) {
    return base::Fail(Code::kInvalidArgument,
                      "query parameter 'level' is 'debug', 'info', 'warn' or 'error'");
  }
  query.search = request.Query("search");
  return query;
}

// {logs}: `limit` lines from `cursor` on, or backwards from it, the newest first then.
Answer LogsV2(ControlContext& context, const Request& request) {
  const auto query = ReadLogQuery(request);
  if (!query) return ErrorAnswer(query.error());
  auto lines = ReadLines(context, request);
  if (!lines) return ErrorAnswer(lines.error());
  if (query->backward) std::ranges::reverse(*lines);
  boost::json::array logs;
  for (const Line& line : *lines) {
    const bool before = query->backward ? line.ms > query->cursor : line.ms < query->cursor;
    if (before || query->none || !line.text.contains(query->search)) continue;
    if (logs.size() == query->limit) break;
    logs.push_back(Entry(line));
  }
  return JsonAnswer(200, {{"logs", std::move(logs)}});
}

}  // namespace

std::vector<Route> LogRoutes() {
  return {
      {"GET", "/sandboxes/{id}/logs", Lane::kQuick, LogsV1},
      {"GET", "/v2/sandboxes/{id}/logs", Lane::kQuick, LogsV2},
  };
}

}  // namespace tinderbox::api
