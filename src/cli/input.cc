// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/input.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <string>

#include "base/base64.h"

namespace tinderbox::cli {

namespace json = boost::json;

InputForwarder::InputForwarder(Agent agent, std::uint32_t pid, bool terminal)
    : agent_(std::move(agent)),
      pid_(pid),
      terminal_(terminal),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      thread_([this] { Run(); }) {}

InputForwarder::~InputForwarder() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
    // The thread may wait for an answer that a process which does not read never lets come.
    if (client_) ::shutdown(client_->fd().get(), SHUT_RDWR);
  }
  ::eventfd_write(stop_.get(), 1);
  thread_.join();
}

base::Result<> InputForwarder::Call(const char* method, const json::value& request) {
  if (!client_ || !client_->reusable()) {
    net::HttpClient fresh = TRY(agent_.Connect(base::Deadline::After(kCallTime)));
    const std::scoped_lock lock(mutex_);
    if (stopping_) return base::Fail(base::Code::kCancelled, "send input: stopped");
    client_ = std::move(fresh);
  }
  // A pipe that is full may stay so for hours; that is the process's affair.
  TRY(net::CallConnect(*client_, std::string("/process.Process/") + method, agent_.Headers(),
                       request, base::Deadline::Never()));
  return {};
}

base::Result<> InputForwarder::Send(std::string_view bytes) {
  return Call("SendInput",
              json::object{{"process", {{"pid", pid_}}},
                           {"input", {{terminal_ ? "pty" : "stdin", base::EncodeBase64(bytes)}}}});
}

base::Result<> InputForwarder::End() {
  if (terminal_) return Send("\x04");
  return Call("CloseStdin", json::object{{"process", {{"pid", pid_}}}});
}

void InputForwarder::Run() {
  constexpr std::size_t kChunk = std::size_t{64} << 10;
  std::string buffer(kChunk, '\0');
  for (;;) {
    pollfd entries[] = {{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0},
                        {.fd = stop_.get(), .events = POLLIN, .revents = 0}};
    if (::poll(entries, 2, -1) < 0 && errno != EINTR) return;
    if (entries[1].revents != 0) return;
    if (entries[0].revents == 0) continue;
    const ssize_t got = ::read(STDIN_FILENO, buffer.data(), buffer.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    // A failed send means that the process has ended or closed its input: the output tells which.
    if (got <= 0) {
      static_cast<void>(End());
      return;
    }
    if (!Send(std::string_view(buffer).substr(0, static_cast<std::size_t>(got)))) return;
  }
}

}  // namespace tinderbox::cli
