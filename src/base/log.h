// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fmt/format.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace tinderbox::base {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// A key and its value on a log line: `sandbox`, `op` and `ms` are the usual keys.
struct LogField {
  std::string_view key;
  std::string value;

  template <typename T>
  LogField(std::string_view k, const T& v) : key(k), value(fmt::format("{}", v)) {}
};

// Writes one line to standard error, "<time> <level> <message> key=value …", with one write(2);
// control characters in message and values are escaped, so that no guest can forge a line. Safe
// from any thread. Libraries return errors; only the edges (daemon, warden, agent) log.
void Log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});

inline void LogInfo(std::string_view m, std::initializer_list<LogField> f = {}) {
  Log(LogLevel::kInfo, m, f);
}
inline void LogWarning(std::string_view m, std::initializer_list<LogField> f = {}) {
  Log(LogLevel::kWarning, m, f);
}
inline void LogError(std::string_view m, std::initializer_list<LogField> f = {}) {
  Log(LogLevel::kError, m, f);
}
inline void LogDebug(std::string_view m, std::initializer_list<LogField> f = {}) {
  Log(LogLevel::kDebug, m, f);
}

// Lines below `level` are dropped; kInfo at start.
void SetLogLevel(LogLevel level);

}  // namespace tinderbox::base
