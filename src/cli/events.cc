// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox events.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/quote.h"
#include "cli/table.h"

namespace tinderbox::cli {
namespace {

namespace json = boost::json;
using base::Result;

constexpr std::size_t kPage = 100;  // as many as the daemon tells at once
constexpr std::string_view kPrefix = "sandbox.lifecycle.";

// The last `count`, the newest first. What happens between two pages moves the later one, so that
// an event may come twice: it is taken once.
Result<json::array> Last(Session& session, const std::string& path, std::size_t count) {
  json::array all;
  std::string last_id;
  while (all.size() < count) {
    const std::size_t limit = std::min(kPage, count - all.size());
    const json::value answer =
        TRY(session.CallJson("GET", fmt::format("{}?offset={}&limit={}", path, all.size(), limit)));
    if (!answer.is_array()) {
      return base::Fail(base::Code::kDataLoss, "list events: the answer is no JSON array");
    }
    const json::array& page = answer.get_array();
    const auto repeated = std::ranges::find_if(
        page, [&](const json::value& each) { return TextAt(each, "id") == last_id; });
    const auto fresh = repeated == page.end() ? page.begin() : repeated + 1;
    all.insert(all.end(), fresh, page.end());
    if (page.size() < limit || fresh == page.end()) break;
    last_id = TextAt(page.back(), "id");
  }
  return all;
}

std::string DetailOf(const json::value& event) {
  const json::value* data = event.as_object().if_contains("eventData");
  if (data == nullptr || !data->is_object()) return {};
  const json::value* end = data->get_object().if_contains("set_timeout");
  if (end == nullptr) return TextAt(*data, "detail");
  return end->is_string() ? fmt::format("its time is over at {}", TextAt(*data, "set_timeout"))
                          : std::string("its time has no end");
}

}  // namespace

Result<int> Execute(Session& session, const EventsOptions& options) {
  std::string path = "/events/sandboxes";
  if (!options.sandbox.empty()) {
    path += "/" + UrlEncode(TRY(session.Resolve(options.sandbox)));
  }
  json::array events = TRY(Last(session, path, options.count));
  std::ranges::reverse(events);
  if (session.json()) {
    TRY(PrintJson(events));
    return 0;
  }
  Table table({"TIME", "SANDBOX", "EVENT", "DETAIL"});
  for (const json::value& event : events) {
    if (!event.is_object()) continue;
    std::string kind = TextAt(event, "type");
    if (kind.starts_with(kPrefix)) kind.erase(0, kPrefix.size());
    table.Add({TextAt(event, "timestamp"), TextAt(event, "sandboxId"), kind, DetailOf(event)});
  }
  TRY(Print(table.ToString()));
  return 0;
}

}  // namespace tinderbox::cli
