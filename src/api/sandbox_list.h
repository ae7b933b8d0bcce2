// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "net/http_message.h"
#include "sandbox/manager.h"

namespace tinderbox::api {

// The query of GET /v2/sandboxes.
struct ListQuery {
  bool running = true;
  bool paused = true;
  std::map<std::string, std::string> metadata;   // all of these
  std::optional<std::int64_t> started_after_ms;  // inclusive
  std::string template_name;
  bool ascending = false;
  std::size_t limit = 100;
  // The last entry of the page before; entries behind it follow.
  struct Cursor {
    std::int64_t started_at_ms = 0;
    std::string id;
  };
  std::optional<Cursor> after;
};

base::Result<ListQuery> ParseListQuery(const std::vector<net::HeaderList::Field>& query);

// "k=v&k2=v2", each key and value percent-encoded, as E2B's clients send it (the query's own
// encoding undone already).
base::Result<std::map<std::string, std::string>> ParseMetadataFilter(std::string_view text);

// RFC 3339 with any fraction and offset, as milliseconds since the epoch.
std::optional<std::int64_t> ParseRfc3339(std::string_view text);

struct Page {
  std::vector<sandbox::SandboxInfo> sandboxes;
  std::string next_token;  // empty: no more
  std::size_t total_running = 0;
};

// Newest start first, then by id; ascending is the exact reverse. Running and paused ones are in
// one order, and a page's token stays good whatever comes and goes between two pages.
Page Select(std::vector<sandbox::SandboxInfo> all, const ListQuery& query);

}  // namespace tinderbox::api
