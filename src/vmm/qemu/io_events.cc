// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/qemu/io_events.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <utility>

#include "vmm/qemu/qmp.h"

namespace tinderbox::vmm::qemu {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::uint64_t kCapabilitiesId = 1;
constexpr std::uint64_t kStatusId = 2;
constexpr std::uint64_t kContinueId = 3;

}  // namespace

Result<> QemuIoEvents::Read() {
  std::array<char, 4096> buffer;
  for (std::size_t read = 0; read < kMaxRead;) {
    const ssize_t n = ::recv(connection_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return {};
    if (n < 0) return FailErrno(errno, "read QEMU's events");
    if (n == 0) return Fail(Code::kUnavailable, "QEMU closed the connection of its events");
    read += static_cast<std::size_t>(n);
    pending_.append(buffer.data(), static_cast<std::size_t>(n));
    std::size_t begin = 0;
    for (auto end = pending_.find('\n'); end != std::string::npos;
         end = pending_.find('\n', begin)) {
      TRY(Take(std::string_view(pending_).substr(begin, end - begin)));
      begin = end + 1;
    }
    pending_.erase(0, begin);
    if (pending_.size() > Qmp::kMaxLine)
      return Fail(Code::kResourceExhausted, "QEMU sends a line without end");
  }
  return {};
}

Result<> QemuIoEvents::Take(std::string_view line) {
  const QmpMessage message = TRY(ParseQmp(line));
  using enum QmpMessage::Kind;
  if (message.kind == kGreeting) return Send("qmp_capabilities", kCapabilitiesId);
  if (message.kind == kEvent) {
    const std::string& name = message.text;
    return name == "STOP" || name == "RESUME" || name == "BLOCK_IO_ERROR" ? Ask() : Result<>();
  }
  if (message.id == kStatusId) {
    asked_ = false;
    if (message.kind == kReturn) no_room_ = TRY(ParseRunState(message.text)) == "io-error";
    return std::exchange(again_, false) ? Ask() : Result<>();
  }
  // It may be stopped since before this connection.
  return message.id == kCapabilitiesId ? Ask() : Result<>();
}

Result<> QemuIoEvents::Ask() {
  if (asked_) {
    again_ = true;
    return {};
  }
  asked_ = true;
  return Send("query-status", kStatusId);
}

Result<> QemuIoEvents::Continue() { return Send("cont", kContinueId); }

// A few short lines, none before the last one is answered: they fit into an empty socket's buffer.
Result<> QemuIoEvents::Send(std::string_view command, std::uint64_t id) {
  const std::string line = fmt::format("{{\"execute\":\"{}\",\"id\":{}}}\n", command, id);
  const ssize_t sent =
      ::send(connection_.get(), line.data(), line.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent == static_cast<ssize_t>(line.size())) return {};
  return Fail(Code::kUnavailable, "QEMU does not read on the connection of its events");
}

}  // namespace tinderbox::vmm::qemu
