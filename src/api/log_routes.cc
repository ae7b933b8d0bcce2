// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// E2B's logs: what became of the sandbox, by its record, and the console, line by line. The console
// knows no times, so that its line n counts as n milliseconds after the start: in order, and
// without repeats for a client that asks for what came after the last one. One that was restored
// says nothing on its console until something happens in it. Every line is of level "info".
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <limits>

#include "api/control.h"
#include "api/error_map.h"
#include "api/sandbox_json.h"
#include "api/text.h"

namespace tinderbox::api {
namespace {

using base::Code;
using base::Result;

constexpr std::size_t kLogBytes = 256 << 10;
constexpr std::size_t kMaxLines = 1000;
constexpr char kSandboxLogger[] = "sandbox";

struct Line {
  std::int64_t ms = 0;
  std::string text;
  const char* logger = "console";
};

std::string_view HowStarted(const sandbox::SandboxInfo& info) {
  if (info.started_by == "boot") return "it booted";
  if (info.started_by == "restore") return "its memory was restored";
  if (info.started_by == "pool") return "a VM from the pool, its memory restored ahead";
  return "";
}

std::vector<Line> Lines(std::string_view console, const sandbox::SandboxInfo& info) {
  const std::string_view from = info.template_name.empty() ? info.template_id : info.template_name;
  const std::string_view how = HowStarted(info);
  std::vector<Line> lines{{info.started_at_ms,
                           fmt::format("sandbox {} created from template '{}'{}{}", info.id, from,
                                       how.empty() ? "" : "; last start: ", how),
                           kSandboxLogger}};
  for (std::int64_t ms = info.started_at_ms + 1; !console.empty(); ++ms) {
    std::string line(console.substr(0, console.find('\n')));
    console.remove_prefix(std::min(line.size() + 1, console.size()));
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) lines.push_back({ms, ValidUtf8(line, true)});
  }
  if (info.state == sandbox::State::kPaused && info.pause_mode) {
    lines.push_back({std::max(info.end_at_ms, lines.back().ms + 1),
                     fmt::format("sandbox {} paused: {} kept", info.id,
                                 *info.pause_mode == sandbox::PauseMode::kFull ? "memory and disk"
                                                                               : "the disk alone"),
                     kSandboxLogger});
  }
  return lines;
}

boost::json::object Entry(const Line& line) {
  return {{"timestamp", Rfc3339(line.ms)},
          {"level", "info"},
          {"message", line.text},
          {"fields", {{"logger", line.logger}}}};
}

template <typename Number>
Result<Number> ReadNumber(const Request& request, std::string_view name, Number fallback,
                          Number max) {
  const std::string_view text = request.Query(name);
  if (text.empty()) return fallback;
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < 0 || number > max) {
    return base::Fail(Code::kInvalidArgument, "query parameter '" + std::string(name) +
                                                  "' is an integer from 0 to " +
                                                  std::to_string(max));
  }
  return number;
}

constexpr std::int64_t kMaxTime = std::numeric_limits<std::int64_t>::max();

Result<std::vector<Line>> ReadLines(ControlContext& context, const Request& request) {
  const auto info = TRY(FindVisible(context, request));
  const std::string console = TRY(context.manager.Console(info.id, kLogBytes));
  return Lines(console, info);
}

// {logs: [{timestamp, line}], logEntries}: the first `limit` lines since `start`.
Answer LogsV1(ControlContext& context, const Request& request) {
  const auto start = ReadNumber<std::int64_t>(request, "start", 0, kMaxTime);
  if (!start) return ErrorAnswer(start.error());
  const auto limit = ReadNumber<std::size_t>(request, "limit", kMaxLines, kMaxLines);
  if (!limit) return ErrorAnswer(limit.error());
  const auto lines = ReadLines(context, request);
  if (!lines) return ErrorAnswer(lines.error());
  boost::json::array logs, entries;
  for (const Line& line : *lines) {
    if (line.ms < *start) continue;
    if (logs.size() == *limit) break;
    const boost::json::object words{
        {"level", "info"}, {"logger", line.logger}, {"message", line.text}};
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
  query.cursor =
      TRY(ReadNumber<std::int64_t>(request, "cursor", query.backward ? kMaxTime : 0, kMaxTime));
  query.limit = TRY(ReadNumber<std::size_t>(request, "limit", kMaxLines, kMaxLines));
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
