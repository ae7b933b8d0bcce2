// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/qemu/qmp.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <cstring>

#include "vmm/last_words.h"

namespace tinderbox::vmm::qemu {

using base::Code;
using base::Result;

namespace {

namespace json = boost::json;

constexpr std::size_t kMaxWords = 400;

Result<> AwaitReady(sys::FdRef fd, short events, base::Deadline deadline) {
  for (;;) {
    pollfd entry{.fd = fd.get(), .events = events, .revents = 0};
    const int ready = ::poll(&entry, 1, deadline.poll_timeout());
    if (ready > 0) return {};
    if (ready == 0) return base::Fail(Code::kDeadlineExceeded, "talk to QEMU: it does not answer");
    if (errno != EINTR) return base::FailErrno(errno, "wait for QEMU's answer");
  }
}

std::unexpected<base::Error> Garbage(std::string_view line) {
  return base::Fail(Code::kDataLoss, fmt::format("QEMU sent something that is not QMP: {}",
                                                 LastWords(line, kMaxWords)));
}

std::string StringOr(const json::object& object, std::string_view key, std::string fallback) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_string()) return fallback;
  return LastWords(value->get_string(), kMaxWords);
}

std::uint64_t IdOf(const json::object& object) {
  const json::value* id = object.if_contains("id");
  boost::system::error_code error;
  const auto number = id != nullptr && id->is_number() ? id->to_number<std::uint64_t>(error) : 0;
  return error ? 0 : number;
}

}  // namespace

Result<QmpMessage> ParseQmp(std::string_view line) {
  boost::system::error_code error;
  const json::value value = json::parse(line, error);
  if (error || !value.is_object()) return Garbage(line);
  const json::object& object = value.get_object();
  using enum QmpMessage::Kind;
  if (const json::value* result = object.if_contains("return"))
    return QmpMessage{.kind = kReturn, .id = IdOf(object), .text = json::serialize(*result)};
  if (const json::value* fault = object.if_contains("error")) {
    if (!fault->is_object()) return Garbage(line);
    return QmpMessage{.kind = kError,
                      .id = IdOf(object),
                      .text = StringOr(fault->get_object(), "desc", "it gives no reason")};
  }
  if (object.contains("event"))
    return QmpMessage{.kind = kEvent, .id = 0, .text = StringOr(object, "event", "")};
  if (object.contains("QMP")) return QmpMessage{.kind = kGreeting, .id = 0, .text = ""};
  return Garbage(line);
}

Result<std::string> ParseRunState(std::string_view text) {
  boost::system::error_code error;
  const json::value value = json::parse(text, error);
  if (error || !value.is_object()) return Garbage(text);
  std::string status = StringOr(value.get_object(), "status", "");
  if (status.empty()) return Garbage(text);
  return status;
}

Result<VmState> ParseStatus(std::string_view text) {
  const std::string status = TRY(ParseRunState(text));
  if (status == "running") return VmState::kRunning;
  if (status == "prelaunch" || status == "inmigrate") return VmState::kNotStarted;
  if (status == "shutdown") return VmState::kEnded;
  // "paused", and all the ways in which QEMU stops a guest by itself (io-error, internal-error, …).
  return VmState::kPaused;
}

Result<Qmp> Qmp::Open(sys::UniqueFd connection, base::Deadline deadline) {
  const int flags = ::fcntl(connection.get(), F_GETFL);
  if (flags < 0 || ::fcntl(connection.get(), F_SETFL, flags | O_NONBLOCK) != 0)
    return base::FailErrno(errno, "prepare the connection to QEMU");
  Qmp qmp(std::move(connection));
  const std::string line = TRY(qmp.ReadLine(deadline));
  const QmpMessage greeting = TRY(ParseQmp(line));
  if (greeting.kind != QmpMessage::Kind::kGreeting)
    return base::Fail(Code::kDataLoss, "QEMU does not begin with QMP's greeting");
  TRY(qmp.Command("qmp_capabilities", deadline));
  return qmp;
}

Result<> Qmp::Run(std::string_view command, base::Deadline deadline) {
  TRY(Command(command, deadline));
  return {};
}

Result<> Qmp::RunWith(std::string_view command, std::string_view arguments,
                      const sys::UniqueFd* passed, base::Deadline deadline) {
  TRY(Command(command, deadline, arguments, passed));
  return {};
}

Result<VmState> Qmp::State(base::Deadline deadline) {
  return ParseStatus(TRY(Command("query-status", deadline)));
}

Result<std::string> Qmp::RunState(base::Deadline deadline) {
  return ParseRunState(TRY(Command("query-status", deadline)));
}

Result<std::string> Qmp::Command(std::string_view command, base::Deadline deadline,
                                 std::string_view arguments, const sys::UniqueFd* passed) {
  const std::uint64_t id = next_id_++;
  const std::string with = arguments.empty() ? "" : fmt::format("\"arguments\":{},", arguments);
  const std::string question =
      fmt::format("{{\"execute\":\"{}\",{}\"id\":{}}}\n", command, with, id);
  const std::size_t sent = passed == nullptr ? 0 : TRY(SendWithFd(question, *passed, deadline));
  TRY(Send(std::string_view(question).substr(sent), deadline));
  for (int skipped = 0; skipped < kMaxEvents; ++skipped) {
    const std::string line = TRY(ReadLine(deadline));
    QmpMessage message = TRY(ParseQmp(line));
    if (message.kind == QmpMessage::Kind::kEvent) continue;
    if (message.kind == QmpMessage::Kind::kGreeting || message.id != id)
      return base::Fail(Code::kDataLoss,
                        fmt::format("QEMU answers another question than '{}'", command));
    if (message.kind == QmpMessage::Kind::kReturn) return std::move(message.text);
    return base::Fail(Code::kFailedPrecondition,
                      fmt::format("QEMU refuses '{}': {}", command, message.text));
  }
  return base::Fail(
      Code::kResourceExhausted,
      fmt::format("QEMU sends events without end instead of answering '{}'", command));
}

Result<> Qmp::Send(std::string_view line, base::Deadline deadline) {
  while (!line.empty()) {
    const ssize_t sent = ::send(fd_.get(), line.data(), line.size(), MSG_NOSIGNAL);
    if (sent >= 0) {
      line.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EAGAIN) {
      TRY(AwaitReady(fd_, POLLOUT, deadline));
    } else if (errno != EINTR) {
      return base::FailErrno(errno, "send to QEMU");
    }
  }
  return {};
}

Result<std::size_t> Qmp::SendWithFd(std::string_view line, const sys::UniqueFd& passed,
                                    base::Deadline deadline) {
  iovec data{.iov_base = const_cast<char*>(line.data()), .iov_len = line.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int fd = passed.get();
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  for (;;) {
    const ssize_t sent = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
    if (sent > 0) return static_cast<std::size_t>(sent);
    if (sent < 0 && errno == EAGAIN) {
      TRY(AwaitReady(fd_, POLLOUT, deadline));
    } else if (sent == 0 || errno != EINTR) {
      return base::FailErrno(errno, "send to QEMU");
    }
  }
}

Result<std::string> Qmp::ReadLine(base::Deadline deadline) {
  for (;;) {
    if (const auto end = pending_.find('\n'); end != std::string::npos) {
      std::string line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return line;
    }
    if (pending_.size() > kMaxLine)
      return base::Fail(Code::kResourceExhausted, "QEMU sent a line without end");
    std::array<char, 4096> buffer;
    const ssize_t got = ::recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (got > 0) {
      pending_.append(buffer.data(), static_cast<std::size_t>(got));
    } else if (got == 0) {
      return base::Fail(Code::kUnavailable, "talk to QEMU: it closed the connection");
    } else if (errno == EAGAIN) {
      TRY(AwaitReady(fd_, POLLIN, deadline));
    } else if (errno != EINTR) {
      return base::FailErrno(errno, "read from QEMU");
    }
  }
}

}  // namespace tinderbox::vmm::qemu
