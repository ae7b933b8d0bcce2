// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox secret.
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <csignal>
#include <variant>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/quote.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "sys/file.h"

namespace tinderbox::cli {
namespace {

namespace json = boost::json;
using base::Code;
using base::Result;

// Far more than the daemon takes: it says best what is too long.
constexpr std::size_t kMaxRead = 64 << 10;

std::string PathOf(const std::string& name) { return "/secrets/" + UrlEncode(name); }

// Prompts for a line and reads it from a terminal that does not show it. Returns the number of a
// signal instead, if one arrives first.
Result<std::variant<std::string, int>> ReadHidden(const std::string& prompt) {
  // The queue outlives the quiet mode: the terminal shows input again before a signal acts.
  SignalQueue signals = TRY(SignalQueue::Open());
  const QuietTerminal quiet = TRY(QuietTerminal::Enter(STDIN_FILENO));
  // Only now: a user types as soon as the prompt appears.
  fmt::print(stderr, "{}", prompt);
  std::string line;
  while (line.size() <= kMaxRead) {
    pollfd ready[] = {{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0},
                      {.fd = signals.fd().get(), .events = POLLIN, .revents = 0}};
    if (::poll(ready, 2, -1) < 0 && errno != EINTR) {
      return base::FailErrno(errno, "wait for the terminal");
    }
    if (const auto signal = signals.Take(); signal && *signal != SIGWINCH && *signal != SIGCONT) {
      return *signal;
    }
    if (ready[0].revents == 0) continue;
    char c = 0;
    const ssize_t n = ::read(STDIN_FILENO, &c, 1);
    if (n <= 0 || c == '\n') break;
    line += c;
  }
  return line;
}

Result<std::string> AskForValue(const std::string& name) {
  auto read = TRY(ReadHidden(fmt::format("Value of {} (not shown): ", name)));
  fmt::print(stderr, "\n");
  if (const int* signal = std::get_if<int>(&read)) {
    ::raise(*signal);
    return base::Fail(Code::kCancelled, "interrupted");
  }
  return std::get<std::string>(std::move(read));
}

Result<std::string> ReadValue(const SecretSetOptions& options) {
  if (options.file == "-" && IsTerminal(STDIN_FILENO)) return AskForValue(options.name);
  std::string value;
  if (options.file == "-") {
    value = TRY_CTX(sys::ReadAll(sys::FdRef::Borrow(STDIN_FILENO), kMaxRead), "read the value");
  } else {
    value = TRY_CTX(sys::ReadFile(options.file, kMaxRead), "read the value");
  }
  if (value.ends_with('\n')) value.pop_back();
  if (value.ends_with('\r')) value.pop_back();
  return value;
}

Result<json::array> ListAll(Session& session) {
  json::array all;
  std::string next;
  do {
    const auto answer =
        TRY(session.Call("GET", "/secrets?limit=100" + (next.empty() ? "" : "&nextToken=" + next),
                         std::nullopt, base::Deadline::After(kCallTime)));
    next = UrlEncode(net::FindHeader(answer.headers, "X-Next-Token").value_or(""));
    boost::system::error_code error;
    const json::value page = json::parse(answer.body, error);
    if (error || !page.is_array()) {
      return base::Fail(Code::kDataLoss, "list secrets: the answer is no JSON array");
    }
    all.insert(all.end(), page.get_array().begin(), page.get_array().end());
  } while (!next.empty());
  return all;
}

}  // namespace

Result<int> Execute(Session& session, const SecretSetOptions& options) {
  json::object body{{"value", TRY(ReadValue(options))}};
  if (options.metadata) {
    json::object metadata;
    for (const auto& [key, value] : *options.metadata) metadata[key] = value;
    body["metadata"] = std::move(metadata);
  }
  auto set = session.CallJson("POST", PathOf(options.name), body);
  if (!set && set.error().code() == Code::kNotFound) {
    body["name"] = options.name;
    set = session.CallJson("POST", "/secrets", body);
  }
  const json::value info = TRY(std::move(set));
  if (session.json()) {
    TRY(PrintJson(info));
  } else {
    TRY(Print(TextAt(info, "name") + "\n"));
  }
  return 0;
}

Result<int> Execute(Session& session, const SecretListOptions& options) {
  const json::array secrets = TRY(ListAll(session));
  if (session.json() && !options.quiet) {
    TRY(PrintJson(secrets));
    return 0;
  }
  Table table({"NAME", "VERSION", "ID", "CREATED", "UPDATED"});
  std::string names;
  for (const json::value& each : secrets) {
    names += TextAt(each, "name") + "\n";
    table.Add({TextAt(each, "name"), std::to_string(NumberAt(each, "currentVersion")),
               TextAt(each, "secretID"), TextAt(each, "createdAt"), TextAt(each, "updatedAt")});
  }
  TRY(Print(options.quiet ? names : table.ToString()));
  return 0;
}

Result<int> Execute(Session& session, const SecretRemoveOptions& options) {
  json::array report;
  int status = 0;
  for (const std::string& name : options.secrets) {
    const auto removed =
        session.Call("DELETE", PathOf(name), std::nullopt, base::Deadline::After(kCallTime));
    if (!removed && !(options.force && removed.error().code() == Code::kNotFound)) {
      PrintError(removed.error());
      status = 1;
      continue;
    }
    report.push_back(json::object{{"secret", name}});
    if (!session.json()) TRY(Print(name + "\n"));
  }
  if (session.json()) TRY(PrintJson(report));
  return status;
}

}  // namespace tinderbox::cli
