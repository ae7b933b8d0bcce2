// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <charconv>
#include <cmath>
#include <ctime>

#include "sys/file.h"

namespace tinderbox::agent {
namespace {

// The next number in `text`, which is moved behind it; 0 where there is none.
std::uint64_t NextNumber(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_of("0123456789"), text.size()));
  std::uint64_t value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return ec == std::errc() ? value : 0;
}

std::uint64_t KilobytesAt(std::string_view text, std::string_view key) {
  const auto at = text.find(key);
  if (at == text.npos) return 0;
  text.remove_prefix(at + key.size());
  return NextNumber(text) * 1024;
}

}  // namespace

CpuTimes ParseCpuTimes(std::string_view proc_stat) {
  CpuTimes times;
  if (!proc_stat.starts_with("cpu ")) return times;
  std::string_view line = proc_stat.substr(0, proc_stat.find('\n'));
  // user nice system idle iowait irq softirq steal; guest times are within user already.
  for (int column = 0; column < 8; ++column) {
    const std::uint64_t ticks = NextNumber(line);
    times.total += ticks;
    if (column != 3 && column != 4) times.busy += ticks;
  }
  return times;
}

Memory ParseMemory(std::string_view proc_meminfo) {
  Memory memory;
  memory.total = KilobytesAt(proc_meminfo, "MemTotal:");
  const std::uint64_t available = KilobytesAt(proc_meminfo, "MemAvailable:");
  memory.used = memory.total - std::min(memory.total, available);
  memory.cache = KilobytesAt(proc_meminfo, "\nCached:") + KilobytesAt(proc_meminfo, "Buffers:");
  return memory;
}

std::string Metrics::Json() {
  const CpuTimes now = ParseCpuTimes(sys::ReadFile("/proc/stat").value_or(""));
  const Memory memory = ParseMemory(sys::ReadFile("/proc/meminfo").value_or(""));
  struct statvfs disk{};
  ::statvfs("/", &disk);
  const auto total = now.total - last_.total;
  const double used =
      total == 0 ? 0
                 : 100.0 * static_cast<double>(now.busy - last_.busy) / static_cast<double>(total);
  last_ = now;
  boost::json::object metrics;
  metrics["ts"] = static_cast<std::int64_t>(std::time(nullptr));
  metrics["cpu_count"] = static_cast<std::int64_t>(::sysconf(_SC_NPROCESSORS_ONLN));
  metrics["cpu_used_pct"] = std::round(used * 100) / 100;
  metrics["mem_total"] = memory.total;
  metrics["mem_used"] = memory.used;
  metrics["mem_cache"] = memory.cache;
  metrics["mem_total_mib"] = memory.total >> 20;
  metrics["mem_used_mib"] = memory.used >> 20;
  metrics["disk_used"] = static_cast<std::uint64_t>(disk.f_blocks - disk.f_bfree) * disk.f_frsize;
  metrics["disk_total"] = static_cast<std::uint64_t>(disk.f_blocks) * disk.f_frsize;
  return boost::json::serialize(metrics);
}

}  // namespace tinderbox::agent
