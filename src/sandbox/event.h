// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tinderbox::sandbox {

// How long events are kept, and how many at most: the oldest go first.
inline constexpr std::chrono::days kKeepEvents{7};
inline constexpr std::size_t kMostEvents = 100'000;
// As much of a console as Event::console_lines counts in.
inline constexpr std::size_t kLogConsoleBytes = 256 << 10;

enum class EventKind {
  kCreated,
  kPaused,
  kResumed,
  kUpdated,       // its time or its network rules
  kCheckpointed,  // a snapshot was taken of it
  kKilled,        // on request, at the end of its time, or its VM died
};
std::string_view EventKindName(EventKind kind);  // "created", …: E2B's words
std::optional<EventKind> ParseEventKind(std::string_view name);

// One thing that happened to a sandbox. It is recorded together with the change itself, and
// outlives the sandbox.
struct Event {
  std::string id;  // a UUID
  std::int64_t at_ms = 0;
  EventKind kind = EventKind::kCreated;
  std::string sandbox_id;
  std::string execution_id;  // of the life that it happened in: from create or resume to its end
  std::string template_id;
  std::map<std::string, std::string> metadata;  // the sandbox's
  std::string detail;                           // how or why, in words
  std::optional<std::int64_t> end_at_ms{};      // the end of its time was set to this; 0: to none
  std::string snapshot_id{};                    // that was taken
  // The life that ended with a pause or a kill; none where a paused sandbox was killed.
  struct Execution {
    std::int64_t started_at_ms = 0;
    std::int64_t ran_ms = 0;
    std::uint32_t cpus = 0;
    std::uint32_t memory_mib = 0;
    bool operator==(const Execution&) const = default;
  };
  std::optional<Execution> execution{};
  // How many lines the last kLogConsoleBytes of its console held by then.
  std::size_t console_lines = 0;
  bool operator==(const Event&) const = default;
};

struct EventRequest {
  std::string sandbox_id{};        // empty: of all
  std::vector<EventKind> kinds{};  // empty: all
  std::size_t offset = 0;
  std::size_t limit = 100;
  bool ascending = false;  // the oldest first; else the newest
};

}  // namespace tinderbox::sandbox
