// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/sandbox_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <tuple>

#include "api/sandbox_json.h"

namespace tinderbox::api {
namespace {

using base::Code;
using base::Fail;
using base::Result;
using sandbox::SandboxInfo;

template <typename Number>
std::optional<Number> ToNumber(std::string_view text) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const auto at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == text.npos) return parts;
    text.remove_prefix(at + 1);
  }
}

Result<> ReadStates(std::string_view text, ListQuery& query) {
  query.running = query.paused = false;
  for (const std::string_view state : Split(text, ',')) {
    if (state == "running") {
      query.running = true;
    } else if (state == "paused") {
      query.paused = true;
    } else {
      return Fail(
          Code::kInvalidArgument,
          fmt::format("query parameter 'state' is 'running', 'paused' or both, not '{}'", state));
    }
  }
  return {};
}

// A token is "<started_at>.<id>": a place in the order, not the name of a snapshot of it.
Result<ListQuery::Cursor> ReadToken(std::string_view token) {
  const auto dot = token.find('.');
  const auto started =
      dot == token.npos ? std::nullopt : ToNumber<std::int64_t>(token.substr(0, dot));
  if (!started)
    return Fail(Code::kInvalidArgument, "query parameter 'nextToken' is not one of ours");
  return ListQuery::Cursor{*started, std::string(token.substr(dot + 1))};
}

Result<> ReadOne(std::string_view name, const std::string& value, ListQuery& query) {
  if (name == "state") return ReadStates(value, query);
  if (name == "metadata") {
    query.metadata = TRY(ParseMetadataFilter(value));
  } else if (name == "startedAfter") {
    query.started_after_ms = ParseRfc3339(value);
    if (!query.started_after_ms) {
      return Fail(Code::kInvalidArgument, "query parameter 'startedAfter' is no RFC 3339 time");
    }
  } else if (name == "template") {
    if (value.contains(':')) {
      return Fail(Code::kInvalidArgument, "query parameter 'template' takes no tag");
    }
    query.template_name = value;
  } else if (name == "order") {
    if (value != "asc" && value != "desc") {
      return Fail(Code::kInvalidArgument, "query parameter 'order' is 'asc' or 'desc'");
    }
    query.ascending = value == "asc";
  } else if (name == "limit") {
    const auto limit = ToNumber<std::size_t>(value);
    if (!limit || *limit < 1 || *limit > 100) {
      return Fail(Code::kInvalidArgument, "query parameter 'limit' is an integer from 1 to 100");
    }
    query.limit = *limit;
  } else if (name == "nextToken") {
    query.after = TRY(ReadToken(value));
  }
  return {};
}

// Whether `a` stands before `b` in the default order.
bool Before(std::int64_t a_start, std::string_view a_id, std::int64_t b_start,
            std::string_view b_id) {
  return std::tuple(-a_start, a_id) < std::tuple(-b_start, b_id);
}

bool Matches(const SandboxInfo& info, const ListQuery& query) {
  const std::string_view state = E2bState(info.state);
  if (state.empty() || (state == "running" ? !query.running : !query.paused)) return false;
  if (query.started_after_ms && info.started_at_ms < *query.started_after_ms) return false;
  if (!query.template_name.empty() && info.template_id != query.template_name &&
      info.template_name != query.template_name) {
    return false;
  }
  return std::ranges::all_of(query.metadata, [&info](const auto& wanted) {
    const auto found = info.metadata.find(wanted.first);
    return found != info.metadata.end() && found->second == wanted.second;
  });
}

}  // namespace

Result<std::map<std::string, std::string>> ParseMetadataFilter(std::string_view text) {
  const auto bad = [] {
    return Fail(Code::kInvalidArgument,
                "query parameter 'metadata' is not of the form key=value&key=value");
  };
  const auto whole = net::PercentDecode(text, true);
  if (!whole) return bad();
  std::map<std::string, std::string> filter;
  if (whole->empty()) return filter;
  for (const std::string_view pair : Split(*whole, '&')) {
    const auto parts = Split(pair, '=');
    if (parts.size() != 2) return bad();
    const auto key = net::PercentDecode(parts[0], true);
    const auto value = net::PercentDecode(parts[1], true);
    if (!key || !value) return bad();
    filter[*key] = *value;
  }
  return filter;
}

std::optional<std::int64_t> ParseRfc3339(std::string_view text) {
  const std::string copy(text);
  std::tm utc{};
  const char* rest = strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%S", &utc);
  if (rest == nullptr) return std::nullopt;
  std::int64_t ms = std::int64_t{timegm(&utc)} * 1000;
  if (*rest == '.') {
    ++rest;
    if (*rest < '0' || *rest > '9') return std::nullopt;
    for (int scale = 100; *rest >= '0' && *rest <= '9'; ++rest, scale /= 10) {
      ms += (*rest - '0') * scale;  // digits beyond the third add nothing
    }
  }
  const std::string_view zone(rest);
  if (zone == "Z" || zone == "z") return ms;
  // '+' of an offset that nobody encoded arrives as a space.
  if (zone.size() != 6 || zone[3] != ':' || std::string_view("+- ").find(zone[0]) == zone.npos) {
    return std::nullopt;
  }
  const auto hours = ToNumber<int>(zone.substr(1, 2));
  const auto minutes = ToNumber<int>(zone.substr(4, 2));
  if (!hours || !minutes || *hours < 0 || *minutes < 0) return std::nullopt;
  const std::int64_t offset = (*hours * 60 + *minutes) * 60000;
  return zone[0] == '-' ? ms + offset : ms - offset;
}

Result<ListQuery> ParseListQuery(const std::vector<net::HeaderList::Field>& fields) {
  ListQuery query;
  for (const auto& [name, value] : fields) {
    if (!value.empty()) TRY(ReadOne(name, value, query));
  }
  return query;
}

Page Select(std::vector<SandboxInfo> all, const ListQuery& query) {
  Page page;
  page.total_running = static_cast<std::size_t>(std::ranges::count_if(
      all, [](const SandboxInfo& info) { return E2bState(info.state) == "running"; }));
  std::erase_if(all, [&query](const SandboxInfo& info) {
    if (!Matches(info, query)) return true;
    if (!query.after) return false;
    const auto& [start, id] = *query.after;
    return query.ascending ? !Before(info.started_at_ms, info.id, start, id)
                           : !Before(start, id, info.started_at_ms, info.id);
  });
  std::ranges::sort(all, [](const SandboxInfo& a, const SandboxInfo& b) {
    return Before(a.started_at_ms, a.id, b.started_at_ms, b.id);
  });
  if (query.ascending) std::ranges::reverse(all);
  if (all.size() > query.limit) {
    all.erase(all.begin() + static_cast<std::ptrdiff_t>(query.limit), all.end());
    page.next_token = fmt::format("{}.{}", all.back().started_at_ms, all.back().id);
  }
  page.sandboxes = std::move(all);
  return page;
}

}  // namespace tinderbox::api
