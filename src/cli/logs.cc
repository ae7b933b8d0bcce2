// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox logs.
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <csignal>

#include "cli/commands.h"
#include "cli/console_tail.h"
#include "cli/output.h"
#include "cli/quote.h"
#include "cli/terminal.h"

namespace tinderbox::cli {
namespace {

constexpr std::uint64_t kDefaultBytes = std::uint64_t{4} << 20;
// While following: how much may come between two looks without being missed.
constexpr std::uint64_t kFollowWindow = std::uint64_t{128} << 10;
constexpr int kFollowMs = 300;

base::Result<std::string> Console(Session& session, const std::string& id, std::uint64_t bytes) {
  return TRY(session.Call("GET",
                          fmt::format("/tinderbox/v1/sandboxes/{}/console?bytes={}", id, bytes),
                          std::nullopt, base::Deadline::After(kCallTime)))
      .body;
}

base::Result<> Show(const Session& session, const std::string& text) {
  if (text.empty()) return {};
  if (session.json())
    return Print(boost::json::serialize(boost::json::object{{"console", text}}) + "\n");
  // A guest's output must not control the reader's terminal. A pipe or a file gets it unchanged.
  return Print(IsTerminal(STDOUT_FILENO) ? PrintableLines(text) : text);
}

// True once nothing more can come.
bool Ended(Session& session, const std::string& id) {
  const auto detail = session.CallJson("GET", "/tinderbox/v1/sandboxes/" + id);
  if (!detail) return detail.error().code() == base::Code::kNotFound;
  const std::string state = TextAt(*detail, "state");
  return state == "dead" || state == "failed";
}

base::Result<int> Follow(Session& session, const std::string& id, ConsoleTail& tail) {
  SignalQueue signals = TRY(SignalQueue::Open());
  for (;;) {
    pollfd entry{.fd = signals.fd().get(), .events = POLLIN, .revents = 0};
    ::poll(&entry, 1, kFollowMs);
    while (const auto signal = signals.Take()) {
      if (*signal != SIGWINCH && *signal != SIGCONT) return 128 + *signal;
    }
    auto window = Console(session, id, kFollowWindow);
    if (!window && window.error().code() == base::Code::kNotFound) return 0;
    const std::string fresh = tail.Advance(TRY(std::move(window)));
    TRY(Show(session, fresh));
    if (fresh.empty() && Ended(session, id)) return 0;
  }
}

}  // namespace

base::Result<int> Execute(Session& session, const LogsOptions& options) {
  const std::string id = TRY(session.Resolve(options.sandbox));
  const std::string text = TRY(Console(session, id, options.bytes.value_or(kDefaultBytes)));
  TRY(Show(session, text));
  if (!options.follow) return 0;
  ConsoleTail tail;
  tail.Advance(text);
  return Follow(session, id, tail);
}

}  // namespace tinderbox::cli
