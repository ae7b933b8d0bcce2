// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/deadline.h"
#include "base/error.h"
#include "sys/fd.h"
#include "vmm/driver.h"

// QEMU's machine protocol: JSON, one object per line, over its unix socket. Blocking, with a
// deadline on every call. What comes from QEMU is taken for hostile (a guest may have taken QEMU
// over): lines, and the events between question and answer, are bounded.
//
// Errors: kUnavailable where the connection is closed, kDataLoss for what is not QMP,
// kResourceExhausted for a line or a number of events beyond the bounds, kFailedPrecondition for a
// command that QEMU refuses, with its words. After any but the last the connection is dead.
namespace tinderbox::vmm::qemu {

class Qmp {
 public:
  static constexpr std::size_t kMaxLine = 64 << 10;
  static constexpr int kMaxEvents = 256;

  // Reads the greeting and leaves negotiation mode. Takes any connected stream socket.
  static base::Result<Qmp> Open(sys::UniqueFd connection, base::Deadline deadline);

  // Runs a command without arguments ("stop", "cont", "quit"); events are skipped.
  base::Result<> Run(std::string_view command, base::Deadline deadline);
  // The same with arguments (a JSON object) and, where it is not null, a descriptor that QEMU gets
  // with it.
  base::Result<> RunWith(std::string_view command, std::string_view arguments,
                         const sys::UniqueFd* passed, base::Deadline deadline);
  // query-status
  base::Result<VmState> State(base::Deadline deadline);
  base::Result<std::string> RunState(base::Deadline deadline);  // as QEMU calls it

 private:
  explicit Qmp(sys::UniqueFd connection) : fd_(std::move(connection)) {}

  base::Result<> Send(std::string_view line, base::Deadline deadline);
  // Sends the first bytes of `line`, and `passed` with them; yields how many bytes those were.
  base::Result<std::size_t> SendWithFd(std::string_view line, const sys::UniqueFd& passed,
                                       base::Deadline deadline);
  base::Result<std::string> ReadLine(base::Deadline deadline);
  // Sends `command` and yields its return value as JSON text.
  base::Result<std::string> Command(std::string_view command, base::Deadline deadline,
                                    std::string_view arguments = {},
                                    const sys::UniqueFd* passed = nullptr);

  sys::UniqueFd fd_;
  std::string pending_;  // received, not yet a whole line
  std::uint64_t next_id_ = 1;
};

// What one line of QMP is. Parsed apart from the connection, so that garbage can be tried on it.
struct QmpMessage {
  enum class Kind { kGreeting, kEvent, kReturn, kError };
  Kind kind = Kind::kEvent;
  std::uint64_t id = 0;  // of kReturn and kError; 0 where it has none
  std::string text;      // the event's name, the error's words, or the return value as JSON
  bool operator==(const QmpMessage&) const = default;
};
base::Result<QmpMessage> ParseQmp(std::string_view line);

// QEMU's name of the state ("running", "io-error", …) out of query-status' return value. kDataLoss
// for anything else.
base::Result<std::string> ParseRunState(std::string_view json);
// The same, as a VmState.
base::Result<VmState> ParseStatus(std::string_view json);

}  // namespace tinderbox::vmm::qemu
