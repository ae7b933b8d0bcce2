// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "cli/quote.h"
#include "cli/terminal.h"
#include "sys/file.h"

namespace tinderbox::cli {
namespace {

namespace json = boost::json;

void Append(std::string& out, const json::value& value, std::size_t depth) {
  const auto indent = [&out](std::size_t n) { out.append(n * 2, ' '); };
  const auto members = [&](const auto& container, char open, char close, const auto& one) {
    if (container.empty()) {
      out += open;
      out += close;
      return;
    }
    out += open;
    bool first = true;
    for (const auto& each : container) {
      out += first ? "\n" : ",\n";
      first = false;
      indent(depth + 1);
      one(each);
    }
    out += '\n';
    indent(depth);
    out += close;
  };
  if (const json::object* object = value.if_object()) {
    members(*object, '{', '}', [&](const json::key_value_pair& pair) {
      out += json::serialize(pair.key());
      out += ": ";
      Append(out, pair.value(), depth + 1);
    });
  } else if (const json::array* array = value.if_array()) {
    members(*array, '[', ']', [&](const json::value& each) { Append(out, each, depth + 1); });
  } else {
    out += json::serialize(value);
  }
}

}  // namespace

void PrintError(const base::Error& error) {
  // The daemon may quote a guest, so no escape sequence may reach the terminal.
  std::string text = "tinderbox: " + PrintableLines(error.ToString()) + "\n";
  if (!error.remedy().empty()) text += "  " + PrintableLines(error.remedy()) + "\n";
  // There is no one to tell if this fails.
  static_cast<void>(sys::WriteAll(sys::FdRef::Borrow(STDERR_FILENO), text));
}

base::Result<> Print(std::string_view text) {
  ::signal(SIGPIPE, SIG_IGN);
  auto written = sys::WriteAll(sys::FdRef::Borrow(STDOUT_FILENO), text);
  if (!written && written.error().errno_value() == EPIPE) return {};
  return written;
}

std::string PrettyJson(const json::value& value) {
  std::string out;
  Append(out, value, 0);
  return out + "\n";
}

base::Result<> PrintJson(const json::value& value) { return Print(PrettyJson(value)); }

bool UseColour() {
  const char* no_colour = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return IsTerminal(STDOUT_FILENO) && (no_colour == nullptr || *no_colour == '\0') &&
         term != nullptr && std::string_view(term) != "dumb";
}

std::string Coloured(Colour colour, std::string_view text) {
  if (!UseColour()) return std::string(text);
  const int code = colour == Colour::kGreen ? 32 : colour == Colour::kYellow ? 33 : 31;
  return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
}

}  // namespace tinderbox::cli
