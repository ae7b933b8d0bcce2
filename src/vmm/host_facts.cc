// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/host_facts.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include <cerrno>
#include <chrono>
#include <cmath>
#include <thread>

#include "sys/file.h"

namespace tinderbox::vmm {
namespace {

#if defined(__x86_64__)
struct ClockSample {
  double ns = 0;
  double ticks = 0;
};

// Both clocks at one instant: of several readings the one that took the shortest time, since any of
// them may have been interrupted.
ClockSample SampleClocks() {
  ClockSample best;
  double shortest = INFINITY;
  for (int i = 0; i < 16; ++i) {
    timespec now{};
    const auto before = static_cast<double>(__rdtsc());
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const auto after = static_cast<double>(__rdtsc());
    if (after - before >= shortest) continue;
    shortest = after - before;
    best.ns = static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
    best.ticks = (before + after) / 2;
  }
  return best;
}

// Against CLOCK_MONOTONIC, not its raw sibling: the corrected rate is what keeps a guest's clock
// right. 20 ms give a few parts in a million.
std::uint64_t MeasureTscKhz() {
  const ClockSample begin = SampleClocks();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const ClockSample end = SampleClocks();
  return static_cast<std::uint64_t>(
      std::llround((end.ticks - begin.ticks) * 1e6 / (end.ns - begin.ns)));
}
#else
std::uint64_t MeasureTscKhz() { return 0; }
#endif

// FNV-1a: tells lists of features apart, nothing more.
std::uint64_t Digest(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

// The value of the first line of /proc/cpuinfo that begins with `name`.
std::string CpuField(std::string_view cpuinfo, std::string_view name) {
  for (std::size_t at = 0; at < cpuinfo.size();) {
    const std::string_view line = cpuinfo.substr(at, cpuinfo.find('\n', at) - at);
    const auto colon = line.find(':');
    const auto end = line.find_last_not_of(" \t", colon == 0 ? 0 : colon - 1);
    if (colon != line.npos && line.substr(0, end + 1) == name)
      return std::string(line.substr(std::min(colon + 2, line.size())));
    at += line.size() + 1;
  }
  return {};
}

}  // namespace

HostCpu ReadHostCpu() {
  const std::string info = sys::ReadFile("/proc/cpuinfo").value_or("");
  std::string features = CpuField(info, "flags");
  std::string name =
      fmt::format("{} {}/{}/{} {:016x}", CpuField(info, "model name"), CpuField(info, "cpu family"),
                  CpuField(info, "model"), CpuField(info, "stepping"), Digest(features));
  return {.name = std::move(name), .features = std::move(features)};
}

base::Result<HostFacts> MeasureHost() {
  struct sysinfo info{};
  if (::sysinfo(&info) != 0) return base::FailErrno(errno, "read the host's memory size");
  HostFacts facts;
  facts.memory_mib = static_cast<std::uint64_t>(info.totalram) * info.mem_unit >> 20;
  facts.cpus = static_cast<std::uint32_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  facts.tsc_khz = MeasureTscKhz();
  return facts;
}

}  // namespace tinderbox::vmm
