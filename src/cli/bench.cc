// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox bench: how long a user waits on this host, through the same API as everything else.
#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <vector>

#include "cli/agent.h"
#include "cli/commands.h"
#include "cli/new_sandbox.h"
#include "cli/output.h"
#include "cli/shell.h"
#include "cli/table.h"

namespace tinderbox::cli {
namespace {

namespace json = boost::json;
using base::Code;
using base::Deadline;
using base::Result;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kStepTime{120};

double MillisecondsSince(Clock::time_point begun) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begun).count();
}

struct Row {
  std::string what;
  std::vector<double> ms;
};

Result<> Expect(const Agent& agent, const std::string& command, std::string_view output) {
  const ShellResult result = TRY(RunShell(agent, command, Deadline::After(kStepTime)));
  if (result.status == 0 && result.output == output) return {};
  return base::Fail(Code::kInternal,
                    fmt::format("a command in sandbox '{}' exited with {} and wrote '{}'",
                                agent.sandbox(), result.status, result.output.substr(0, 100)));
}

// The sandboxes of a bench: none is left behind, however it ends.
class Bench {
 public:
  Bench(Session& session, const BenchOptions& options) : session_(session), options_(options) {}
  ~Bench() {
    for (const std::string& id : sandboxes_) (void)RemoveSandbox(session_, id);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  Result<std::vector<Row>> Run() {
    Row created{"create to first output", {}}, command{"command (true)", {}}, paused{"pause", {}},
        resumed{"resume", {}}, forked{"fork: the child answers", {}}, removed{"remove", {}};
    for (std::uint32_t i = 0; i < options_.count; ++i) {
      auto begun = Clock::now();
      const std::string id = TRY(Create());
      const Agent agent = TRY(Agent::Find(session_, id, ""));
      TRY(Expect(agent, "echo hi", "hi\n"));
      created.ms.push_back(MillisecondsSince(begun));
      for (int repeat = 0; repeat < 3; ++repeat) {
        begun = Clock::now();
        TRY(Expect(agent, "true", ""));
        command.ms.push_back(MillisecondsSince(begun));
      }
      paused.ms.push_back(TRY(Time("POST", "/sandboxes/" + id + "/pause")));
      resumed.ms.push_back(TRY(Time("POST", "/v2/sandboxes/" + id + "/connect")));
      begun = Clock::now();
      const json::value children = TRY(session_.CallJson(
          "POST", "/sandboxes/" + id + "/fork", json::object(), Deadline::After(kStepTime)));
      forked.ms.push_back(MillisecondsSince(begun));
      TRY(KeepChildren(children));
      begun = Clock::now();
      while (!sandboxes_.empty()) {
        TRY(RemoveSandbox(session_, sandboxes_.back()));
        sandboxes_.pop_back();
      }
      removed.ms.push_back(MillisecondsSince(begun) / 2);
    }
    return std::vector<Row>{created, command, paused, resumed, forked, removed};
  }

 private:
  Result<std::string> Create() {
    const json::object body = {{"templateID", options_.template_id}, {"timeout", 300}};
    const json::value made =
        TRY(session_.CallJson("POST", "/v2/sandboxes", body, Deadline::After(kStepTime)));
    sandboxes_.push_back(TextAt(made, "sandboxID"));
    return sandboxes_.back();
  }
  Result<double> Time(std::string_view method, const std::string& target) {
    const auto begun = Clock::now();
    TRY(session_.Call(method, target, json::object(), Deadline::After(kStepTime)));
    return MillisecondsSince(begun);
  }
  Result<> KeepChildren(const json::value& children) {
    for (const json::value& child : children.is_array() ? children.get_array() : json::array()) {
      const json::value* sandbox =
          child.is_object() ? child.get_object().if_contains("sandbox") : nullptr;
      if (sandbox == nullptr) {
        return base::Fail(Code::kUnavailable,
                          fmt::format("fork: {}", json::serialize(child).substr(0, 300)));
      }
      sandboxes_.push_back(TextAt(*sandbox, "sandboxID"));
    }
    return {};
  }

  Session& session_;
  const BenchOptions& options_;
  std::vector<std::string> sandboxes_;
};

}  // namespace

Result<int> Execute(Session& session, const BenchOptions& options) {
  const json::value info = TRY(session.CallJson("GET", "/tinderbox/v1/info"));
  std::vector<Row> rows = TRY(Bench(session, options).Run());
  Table table({"WHAT", "MEDIAN", "SLOWEST", "SAMPLES"});
  json::array report;
  for (Row& row : rows) {
    std::ranges::sort(row.ms);
    const double median = row.ms[row.ms.size() / 2];
    table.Add({row.what, fmt::format("{:.1f} ms", median), fmt::format("{:.1f} ms", row.ms.back()),
               std::to_string(row.ms.size())});
    report.push_back(json::object{{"what", row.what},
                                  {"medianMs", median},
                                  {"slowestMs", row.ms.back()},
                                  {"samples", row.ms.size()}});
  }
  const json::value* vmm = info.is_object() ? info.get_object().if_contains("vmm") : nullptr;
  if (session.json()) {
    TRY(PrintJson(json::object{{"vmm", vmm ? *vmm : json::value()}, {"rows", std::move(report)}}));
    return 0;
  }
  TRY(Print(fmt::format("{} {}, {}; template {}; VMs ready: {}\n\n",
                        vmm ? TextAt(*vmm, "name") : "", vmm ? TextAt(*vmm, "version") : "",
                        vmm ? TextAt(*vmm, "accelerator") : "", options.template_id,
                        NumberAt(info, "readyVms"))));
  TRY(Print(table.ToString()));
  return 0;
}

}  // namespace tinderbox::cli
