// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/process_event.h"

#include <boost/json.hpp>
#include <charconv>
#include <csignal>
#include <utility>

#include "base/base64.h"
#include "cli/session.h"

namespace tinderbox::cli {
namespace {

namespace json = boost::json;
using Kind = ProcessEvent::Kind;

std::unexpected<base::Error> Malformed() {
  return base::Fail(base::Code::kDataLoss, "read the command's stream: malformed message");
}

const json::value* Member(const json::value& value, std::string_view key) {
  const json::object* object = value.if_object();
  return object ? object->if_contains({key.data(), key.size()}) : nullptr;
}

constexpr std::pair<std::string_view, Kind> kStreams[] = {
    {"stdout", Kind::kStdout}, {"stderr", Kind::kStderr}, {"pty", Kind::kPty}};

// The form that nearly all messages have, without building a document:
// {"event":{"data":{"stdout":"…"}}}
bool DecodeQuickly(std::string_view payload, ProcessEvent& event) {
  constexpr std::string_view kHead = R"({"event":{"data":{")";
  constexpr std::string_view kTail = R"("}}})";
  if (!payload.starts_with(kHead) || !payload.ends_with(kTail)) return false;
  payload.remove_prefix(kHead.size());
  payload.remove_suffix(kTail.size());
  for (const auto& [name, kind] : kStreams) {
    if (!payload.starts_with(name) || !payload.substr(name.size()).starts_with(R"(":")")) continue;
    payload.remove_prefix(name.size() + 3);
    event.bytes.clear();
    // Anything but base64 in there (an escape, a second member) goes the long way.
    if (!base::AppendFromBase64(event.bytes, payload)) return false;
    event.kind = kind;
    return true;
  }
  return false;
}

base::Result<> DecodeData(const json::value& data, ProcessEvent& event) {
  for (const auto& [name, kind] : kStreams) {
    const json::value* bytes = Member(data, name);
    if (bytes == nullptr) continue;
    if (!bytes->is_string()) return Malformed();
    event.bytes.clear();
    if (!base::AppendFromBase64(event.bytes, bytes->get_string())) return Malformed();
    event.kind = kind;
    return {};
  }
  return {};  // an empty chunk: zero values are omitted
}

}  // namespace

base::Result<> DecodeProcessEvent(std::string_view payload, ProcessEvent& event) {
  event.kind = Kind::kOther;
  if (DecodeQuickly(payload, event)) return {};
  boost::system::error_code error;
  const json::value parsed = json::parse({payload.data(), payload.size()}, error);
  if (error || !parsed.is_object()) return Malformed();
  const json::value* what = Member(parsed, "event");
  if (what == nullptr) return {};
  if (const json::value* start = Member(*what, "start")) {
    event.kind = Kind::kStart;
    event.pid = static_cast<std::uint32_t>(NumberAt(*start, "pid"));
  } else if (const json::value* data = Member(*what, "data")) {
    return DecodeData(*data, event);
  } else if (const json::value* end = Member(*what, "end")) {
    event.kind = Kind::kEnd;
    event.exit_code = static_cast<int>(NumberAt(*end, "exitCode"));
    const json::value* exited = Member(*end, "exited");
    event.exited = exited != nullptr && exited->is_bool() && exited->get_bool();
    event.status = TextAt(*end, "status");
  }
  return {};
}

int SignalNumber(std::string_view words) {
  constexpr std::pair<std::string_view, int> kNames[] = {
      {"hangup", SIGHUP},
      {"interrupt", SIGINT},
      {"quit", SIGQUIT},
      {"illegal instruction", SIGILL},
      {"trace/breakpoint trap", SIGTRAP},
      {"aborted", SIGABRT},
      {"bus error", SIGBUS},
      {"floating point exception", SIGFPE},
      {"killed", SIGKILL},
      {"user defined signal 1", SIGUSR1},
      {"segmentation fault", SIGSEGV},
      {"user defined signal 2", SIGUSR2},
      {"broken pipe", SIGPIPE},
      {"alarm clock", SIGALRM},
      {"terminated", SIGTERM},
      {"stack fault", SIGSTKFLT},
      {"CPU time limit exceeded", SIGXCPU},
      {"file size limit exceeded", SIGXFSZ},
      {"virtual timer expired", SIGVTALRM},
      {"profiling timer expired", SIGPROF},
      {"I/O possible", SIGIO},
      {"power failure", SIGPWR},
      {"bad system call", SIGSYS},
  };
  for (const auto& [name, number] : kNames) {
    if (words.starts_with(name)) return number;
  }
  if (words.starts_with("signal ")) {
    words.remove_prefix(7);
    int number = 0;
    const auto [end, error] = std::from_chars(words.data(), words.data() + words.size(), number);
    if (error == std::errc() && number > 0 && number <= SIGRTMAX) return number;
  }
  return 0;
}

int ShellStatus(const ProcessEvent& end) {
  constexpr std::string_view kPrefix = "signal: ";
  if (end.exited || !std::string_view(end.status).starts_with(kPrefix)) {
    return end.exit_code & 0xff;
  }
  const int number = SignalNumber(std::string_view(end.status).substr(kPrefix.size()));
  return number > 0 ? 128 + number : 255;
}

}  // namespace tinderbox::cli
