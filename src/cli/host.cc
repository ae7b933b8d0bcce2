// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox info, doctor, version.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cstdlib>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/quote.h"
#include "cli/table.h"
#include "sys/file.h"

namespace tinderbox::cli {
namespace {

namespace json = boost::json;

std::string Words(const json::value& value) {
  if (value.is_string()) return std::string(value.get_string());
  if (value.is_bool()) return value.get_bool() ? "yes" : "no";
  if (value.is_null()) return "-";
  return json::serialize(value);
}

// {"a":{"b":1},"c":["x","y"]} as rows "a.b  1", "c  x", "   y".
void AddRows(Table& table, const std::string& prefix, const json::value& value) {
  if (const json::object* object = value.if_object()) {
    for (const auto& [key, member] : *object) {
      const std::string name(key);
      AddRows(table, prefix.empty() ? name : prefix + "." + name, member);
    }
  } else if (const json::array* array = value.if_array()) {
    std::string name = prefix;
    for (const json::value& each : *array) table.Add({std::exchange(name, ""), Words(each)});
  } else {
    table.Add({prefix, Words(value)});
  }
}

json::object Check(std::string name, bool good, std::string_view bad_status, std::string detail,
                   std::string remedy) {
  json::object check{
      {"name", name}, {"status", good ? std::string_view("ok") : bad_status}, {"detail", detail}};
  if (!good) check["remedy"] = remedy;
  return check;
}

bool CanOpen(const char* path) { return sys::Open(path, O_RDWR).has_value(); }

std::string FindProgram(std::string_view name) {
  const char* path = std::getenv("PATH");
  std::string_view left = path ? path : "/usr/bin:/bin";
  while (!left.empty()) {
    const auto colon = left.find(':');
    std::string candidate = fmt::format("{}/{}", left.substr(0, colon), name);
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    if (colon == left.npos) break;
    left.remove_prefix(colon + 1);
  }
  return {};
}

// What can be told without a daemon: that there is none, and whether one could do its work.
json::array LocalChecks(const base::Error& why) {
  json::array checks;
  checks.push_back(Check("daemon", false, "fail", why.message(), why.remedy()));
  const bool kvm = CanOpen("/dev/kvm");
  checks.push_back(Check("kvm", kvm, "warn",
                         kvm ? "/dev/kvm opens (whether it runs Linux, the daemon finds out)"
                             : "/dev/kvm cannot be opened; QEMU's software emulation will be used",
                         "Enable virtualisation (nested, if this is a VM), and run as root."));
  const bool tun = CanOpen("/dev/net/tun");
  checks.push_back(Check("tun", tun, "fail",
                         tun ? "/dev/net/tun opens" : "/dev/net/tun cannot be opened",
                         "Load it (modprobe tun), and run this as root."));
  const std::string qemu = FindProgram("qemu-system-x86_64");
  checks.push_back(Check("qemu", !qemu.empty(), "fail",
                         qemu.empty() ? "qemu-system-x86_64 is not on PATH" : qemu,
                         "Install it: apt-get install qemu-system-x86"));
  return checks;
}

std::string DoctorText(const json::array& checks) {
  std::string text;
  for (const json::value& check : checks) {
    const std::string status = TextAt(check, "status");
    const Colour colour = status == "ok"     ? Colour::kGreen
                          : status == "warn" ? Colour::kYellow
                                             : Colour::kRed;
    text += fmt::format("{} {:<14} {}\n", Coloured(colour, fmt::format("{:<4}", status)),
                        TextAt(check, "name"), Printable(TextAt(check, "detail")));
    if (const std::string remedy = TextAt(check, "remedy"); status != "ok" && !remedy.empty()) {
      text += fmt::format("     {:<14} → {}\n", "", Printable(remedy));
    }
  }
  return text;
}

}  // namespace

base::Result<int> Execute(Session& session, const InfoOptions&) {
  const json::value info = TRY(session.CallJson("GET", "/tinderbox/v1/info"));
  if (session.json()) {
    TRY(PrintJson(info));
    return 0;
  }
  Table table({"WHAT", "VALUE"});
  AddRows(table, "", info);
  TRY(Print(table.ToString()));
  return 0;
}

base::Result<int> Execute(Session& session, const DoctorOptions&) {
  // Probing the accelerator runs a small guest.
  auto answer = session.CallJson("GET", "/tinderbox/v1/doctor", std::nullopt,
                                 base::Deadline::After(std::chrono::seconds(120)));
  const bool reached = answer.has_value();
  if (!reached && answer.error().code() != base::Code::kUnavailable) {
    return std::unexpected(std::move(answer).error());
  }
  json::array checks;
  if (!reached) {
    checks = LocalChecks(answer.error());
  } else if (const json::object* object = answer->if_object()) {
    if (const json::value* list = object->if_contains("checks"); list && list->is_array()) {
      checks = list->get_array();
    }
  }
  bool failed = false;
  for (const json::value& check : checks) failed |= TextAt(check, "status") == "fail";
  if (session.json()) {
    TRY(PrintJson(json::object{{"ok", !failed}, {"checks", checks}}));
  } else {
    TRY(Print(DoctorText(checks)));
  }
  return failed ? 1 : 0;
}

base::Result<int> Execute(Session& session, const VersionOptions&) {
  if (session.json()) {
    TRY(PrintJson(json::object{{"version", TINDERBOX_VERSION}}));
  } else {
    TRY(Print("tinderbox " TINDERBOX_VERSION "\n"));
  }
  return 0;
}

}  // namespace tinderbox::cli
