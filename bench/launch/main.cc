// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// bench_launch: how long it takes from the request to the VMM, by the launcher and by the same
// sequence as a chain of programs, in turns, in one run. Needs root.
#include <fmt/format.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/statfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <functional>

#include "base/id.h"
#include "rivals.h"
#include "samples.h"
#include "sys/file.h"
#include "sys/netns.h"

namespace tinderbox::bench {
namespace {

namespace json = boost::json;
using base::Result;

bool IsTmpfs(const char* path) {
  struct statfs fs{};
  constexpr long kTmpfsMagic = 0x01021994;
  return ::statfs(path, &fs) == 0 && fs.f_type == kTmpfsMagic;
}

// Run directories belong into /run, which is a tmpfs on all but odd hosts; there, another tmpfs
// stands in for it, so that a disk's journal is not what is measured.
std::string DefaultDirectory() {
  for (const char* path : {"/run", "/dev/shm"}) {
    if (IsTmpfs(path)) return path;
  }
  return "/run";
}

struct Options {
  int rounds = 100;
  int warm_up = 10;
  int firecracker_rounds = 30;
  std::string json_file = "bench-launch.json";
  std::string firecracker;
  bool realtime = false;
  std::string directory = DefaultDirectory();
};

// Directory and network namespace of the run; gone when it ends.
class Stage {
 public:
  static Result<std::unique_ptr<Stage>> Set(const std::string& directory,
                                            const std::string& firecracker) {
    auto stage = std::unique_ptr<Stage>(new Stage);
    std::string pattern = directory + "/tinderbox-bench-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) return base::FailErrno(errno, "make a directory");
    stage->setting_ = {pattern, "tinderbox-bench-" + base::RandomHex(3), firecracker};
    TRY(sys::MakeDirs(pattern + "/work"));
    TRY(sys::WriteFileAtomic(pattern + "/kernel", "kernel"));
    TRY(sys::WriteFileAtomic(pattern + "/rootfs", "rootfs"));
    const auto netns = TRY(sys::NewNetNs());
    TRY(sys::NameNetNs(netns, stage->setting_.netns));
    return stage;
  }
  ~Stage() {
    (void)sys::UnnameNetNs(setting_.netns);
    (void)sys::RemoveTree(setting_.directory);
  }
  const Setting& setting() const { return setting_; }

 private:
  Stage() = default;
  Setting setting_;
};

struct Rival {
  Samples samples;
  std::function<Result<double>()> run;
};

// In turns, so that whatever else the machine does falls on all of them alike.
Result<> Measure(std::vector<Rival>& rivals, int warm_up, int rounds) {
  for (int round = -warm_up; round < rounds; ++round) {
    for (auto& rival : rivals) {
      const double us = TRY_CTX(rival.run(), rival.samples.name());
      if (round >= 0) rival.samples.Add(us);
    }
  }
  return {};
}

// By the launcher; the times of its steps go into `steps`.
Result<double> LaunchAndBook(const Setting& setting, bool cgroup, std::vector<Samples>* steps) {
  std::vector<vmm::StepTiming> timings;
  const double us = TRY(LaunchNoop(setting, cgroup, &timings));
  for (std::size_t i = 0; i < timings.size(); ++i) {
    if (steps->size() <= i) steps->emplace_back("  step " + timings[i].step);
    (*steps)[i].Add(static_cast<double>(timings[i].took.count()) / 1000);
  }
  return us;
}

struct Report {
  std::vector<Rival> noop;
  std::vector<Rival> firecracker;
  std::vector<Samples> steps;
};

Result<> Show(const Report& report, const Options& options) {
  const double ratio = report.noop.back().samples.median() / report.noop.front().samples.median();
  utsname host{};
  ::uname(&host);
  std::string text = fmt::format(
      "request → first instruction of the VMM; one at a time, page cache warm, run "
      "directories in {}{}; {} CPUs, Linux {}\n",
      options.directory, options.realtime ? ", real-time priority" : "",
      ::sysconf(_SC_NPROCESSORS_ONLN), host.release);
  json::array rows;
  const auto add = [&](const Samples& samples) {
    text += samples.TableRow();
    rows.push_back(samples.ToJson());
  };
  text += Samples::TableHead();
  for (const auto& rival : report.noop) add(rival.samples);
  for (const auto& rival : report.firecracker) add(rival.samples);
  text +=
      "where the launcher's time goes (the warden's steps and the launcher's overlap in part)\n";
  for (const auto& step : report.steps) add(step);
  text +=
      fmt::format("the launcher (first row) is {:.1f} times as fast as the shell chain\n", ratio);
  fmt::print("{}", text);
  const json::object object{{"benchmark", "launch"},
                            {"kernel", host.release},
                            {"cpus", ::sysconf(_SC_NPROCESSORS_ONLN)},
                            {"directory", options.directory},
                            {"concurrency", 1},
                            {"pageCache", "warm"},
                            {"realtime", options.realtime},
                            {"ratio", ratio},
                            {"results", rows}};
  TRY(sys::WriteFileAtomic(options.json_file, json::serialize(object) + "\n"));
  fmt::print("written to {}\n", options.json_file);
  return {};
}

Result<> Run(const Options& options) {
  if (options.realtime) {
    // Inherited by every program of every rival alike.
    const sched_param first{.sched_priority = 1};
    if (::sched_setscheduler(0, SCHED_RR, &first) != 0) {
      return base::FailErrno(errno, "take real-time priority");
    }
  }
  const auto stage = TRY(Stage::Set(options.directory, options.firecracker));
  const Setting& setting = stage->setting();
  Report report;
  std::vector<Samples> unused;
  if (!options.realtime) {
    report.noop.push_back({Samples("launcher, with cgroup"),
                           [&] { return LaunchAndBook(setting, true, &report.steps); }});
  }
  report.noop.push_back(
      {Samples("launcher, no cgroup"),
       [&] { return LaunchAndBook(setting, false, options.realtime ? &report.steps : &unused); }});
  report.noop.push_back(
      {Samples("shell chain (no jail, no cgroup)"), [&] { return ChainNoop(setting); }});
  TRY(Measure(report.noop, options.warm_up, options.rounds));
  // The warm-up's steps are not told apart from the others; they are few.
  if (!options.firecracker.empty()) {
    report.firecracker.push_back({Samples("Firecracker, launcher → API's first answer"),
                                  [&] { return LaunchFirecracker(setting, !options.realtime); }});
    report.firecracker.push_back({Samples("Firecracker, shell chain → API's first answer"),
                                  [&] { return ChainFirecracker(setting); }});
    TRY(Measure(report.firecracker, 3, options.firecracker_rounds));
  }
  return Show(report, options);
}

}  // namespace
}  // namespace tinderbox::bench

int main(int argc, char** argv) {
  tinderbox::bench::Options options;
  CLI::App app("Request → VMM: the launcher against the same sequence as a shell chain",
               "bench_launch");
  app.add_option("--rounds", options.rounds)->capture_default_str();
  app.add_option("--warm-up", options.warm_up)->capture_default_str();
  app.add_option("--firecracker-rounds", options.firecracker_rounds)->capture_default_str();
  app.add_option("--directory", options.directory, "Where the run directories are")
      ->capture_default_str();
  app.add_option("--json", options.json_file, "Where the figures go")->capture_default_str();
  app.add_option("--firecracker", options.firecracker,
                 "Its program; without it, those rows are left out")
      ->envname("TINDERBOX_FIRECRACKER");
  app.add_flag(
      "--realtime", options.realtime,
      "Run all of it at real-time priority, for machines that have other work to do; without the "
      "cgroup then, whose CPU controller takes no such processes");
  CLI11_PARSE(app, argc, argv);
  if (::geteuid() != 0) {
    fmt::print(stderr, "bench_launch: needs root\n");
    return 1;
  }
  const auto done = tinderbox::bench::Run(options);
  if (done) return 0;
  fmt::print(stderr, "bench_launch: {}\n", done.error().ToString());
  return 1;
}
