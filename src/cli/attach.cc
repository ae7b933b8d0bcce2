// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/attach.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <string>

#include "cli/input.h"
#include "cli/output.h"
#include "cli/process_event.h"
#include "net/connect_client.h"

namespace tinderbox::cli {
namespace {

namespace json = boost::json;
using base::Code;
using base::Deadline;
using Kind = ProcessEvent::Kind;

constexpr std::chrono::seconds kStartTime{60};
constexpr std::chrono::seconds kControlTime{10};
// Twice the agent's sign of life and some: then we ask the daemon whether the sandbox still is.
constexpr std::chrono::seconds kSilence{120};
constexpr int kBrokenPipeStatus = 128 + SIGPIPE;

json::object StartRequest(const ProcessOptions& options, const WindowSize& size) {
  json::object envs;
  json::array args;
  std::string cmd = "/bin/bash";
  if (options.command.empty()) {
    if (options.tty) args.emplace_back("-i");
    args.emplace_back("-l");
  } else {
    cmd = options.command.front();
    for (auto it = options.command.begin() + 1; it != options.command.end(); ++it) {
      args.emplace_back(*it);
    }
  }
  if (options.tty) {
    const char* term = std::getenv("TERM");
    envs["TERM"] = term != nullptr && *term != '\0' ? term : "xterm-256color";
    envs["LANG"] = "C.UTF-8";
    envs["LC_ALL"] = "C.UTF-8";
  }
  for (const auto& [key, value] : options.env) envs[key] = value;
  json::object process{{"cmd", cmd}, {"args", args}, {"envs", envs}};
  if (!options.workdir.empty()) process["cwd"] = options.workdir;
  json::object request{{"process", process}, {"stdin", options.interactive}};
  if (options.tty) request["pty"] = {{"size", {{"cols", size.cols}, {"rows", size.rows}}}};
  return request;
}

// One attached command. Lives on one thread; its input has another (input.h).
class Attachment {
 public:
  Attachment(Agent& agent, const ProcessOptions& options, SignalQueue& signals)
      : agent_(agent), options_(options), signals_(signals) {}

  base::Result<int> Run();
  bool started() const { return pid_ != 0; }
  int first_signal() const { return first_signal_; }

 private:
  base::Result<net::ConnectStream> Begin();
  // One message; a value is the exit status.
  base::Result<std::optional<int>> Handle(std::string_view payload);
  base::Result<> WaitForMore(sys::FdRef stream);
  base::Result<> HandleSignals();
  base::Result<> Interrupted(int signal);
  // False where nobody reads any more.
  base::Result<bool> Write(int fd, std::string_view bytes);
  void Resize();
  void SendSignal(const char* name);
  base::Result<> CheckSandbox();
  base::Error Lost(base::Error error);

  Agent& agent_;
  const ProcessOptions& options_;
  SignalQueue& signals_;
  std::optional<RawTerminal> raw_;
  std::optional<InputForwarder> input_;
  ProcessEvent event_;
  std::uint32_t pid_ = 0;
  WindowSize size_;
  int interruptions_ = 0;
  int first_signal_ = 0;
  bool stderr_closed_ = false;
};

base::Result<net::ConnectStream> Attachment::Begin() {
  if (options_.tty) size_ = TerminalSize(IsTerminal(STDIN_FILENO) ? STDIN_FILENO : STDOUT_FILENO);
  return agent_.Stream("/process.Process/Start", StartRequest(options_, size_),
                       Deadline::After(kStartTime));
}

base::Result<int> Attachment::Run() {
  net::ConnectStream stream = TRY(Begin());
  for (;;) {
    TRY(HandleSignals());
    auto next = stream.Next(Deadline::After({}));
    if (!next) {
      if (next.error().code() != Code::kDeadlineExceeded) {
        return std::unexpected(Lost(std::move(next).error()));
      }
      TRY(WaitForMore(stream.fd()));
      continue;
    }
    const std::optional<std::string> payload = std::move(*next);
    if (!payload) {
      return base::Fail(Code::kDataLoss, "the command's stream ended without its exit status");
    }
    if (const auto status = TRY(Handle(*payload))) return *status;
  }
}

base::Result<std::optional<int>> Attachment::Handle(std::string_view payload) {
  TRY(DecodeProcessEvent(payload, event_));
  bool heard = true;
  if (agent_.session().json()) {
    heard = TRY(Write(STDOUT_FILENO, fmt::format("{}\n", payload)));
  } else if (event_.kind == Kind::kStdout || event_.kind == Kind::kPty) {
    heard = TRY(Write(STDOUT_FILENO, event_.bytes));
  } else if (event_.kind == Kind::kStderr && !stderr_closed_) {
    stderr_closed_ = !TRY(Write(STDERR_FILENO, event_.bytes));
  }
  if (!heard) {
    SendSignal("SIGNAL_SIGKILL");
    return kBrokenPipeStatus;
  }
  if (event_.kind == Kind::kStart && pid_ == 0) {
    pid_ = event_.pid;
    // Raw only now: until the command runs, Ctrl-C is still ours.
    if (options_.tty && options_.interactive && IsTerminal(STDIN_FILENO)) {
      raw_.emplace(TRY(RawTerminal::Enter(STDIN_FILENO)));
    }
    if (options_.interactive) input_.emplace(agent_, pid_, options_.tty);
    if (options_.tty) Resize();  // it may have changed since we asked
    if (interruptions_ > 0) SendSignal("SIGNAL_SIGTERM");
  }
  if (event_.kind != Kind::kEnd) return std::optional<int>();
  const int status = ShellStatus(event_);
  // Whoever interrupts a command expects the status of that signal, not of our way to pass it on.
  const bool ours = status == 128 + SIGTERM || status == 128 + SIGKILL;
  return interruptions_ > 0 && ours ? 128 + first_signal_ : status;
}

base::Result<> Attachment::WaitForMore(sys::FdRef stream) {
  pollfd entries[] = {{.fd = stream.get(), .events = POLLIN, .revents = 0},
                      {.fd = signals_.fd().get(), .events = POLLIN, .revents = 0}};
  constexpr auto kMs = std::chrono::duration_cast<std::chrono::milliseconds>(kSilence).count();
  const int ready = ::poll(entries, 2, static_cast<int>(kMs));
  if (ready < 0 && errno != EINTR) return base::FailErrno(errno, "wait for the command");
  if (ready == 0) return CheckSandbox();
  return {};
}

base::Result<> Attachment::HandleSignals() {
  while (const auto signal = signals_.Take()) {
    switch (*signal) {
      case SIGWINCH: Resize(); break;
      case SIGCONT:
        if (raw_) raw_->Renew();
        Resize();
        break;
      default: TRY(Interrupted(*signal));
    }
  }
  return {};
}

base::Result<> Attachment::Interrupted(int signal) {
  if (++interruptions_ == 1) first_signal_ = signal;
  if (interruptions_ >= 3) {
    return base::Fail(Code::kCancelled, "interrupted; the command did not end in time");
  }
  if (pid_ != 0) SendSignal(interruptions_ == 1 ? "SIGNAL_SIGTERM" : "SIGNAL_SIGKILL");
  return {};
}

base::Result<bool> Attachment::Write(int fd, std::string_view bytes) {
  struct stat status{};
  // A blocking write to a pipe or a terminal that nobody empties would keep signals waiting. After
  // poll(2) a pipe takes PIPE_BUF bytes at once; a file takes everything.
  const bool whole = ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
  constexpr std::size_t kAtOnce = 4096;
  while (!bytes.empty()) {
    if (!whole) {
      pollfd entries[] = {{.fd = fd, .events = POLLOUT, .revents = 0},
                          {.fd = signals_.fd().get(), .events = POLLIN, .revents = 0}};
      if (::poll(entries, 2, -1) < 0 && errno != EINTR) return base::FailErrno(errno, "write");
      if (entries[1].revents != 0) TRY(HandleSignals());
      if (entries[0].revents == 0) continue;
    }
    const ssize_t sent =
        ::write(fd, bytes.data(), whole ? bytes.size() : std::min(bytes.size(), kAtOnce));
    if (sent >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno == EPIPE) {
      return false;
    } else if (errno != EINTR && errno != EAGAIN) {
      return base::FailErrno(errno, "write the command's output");
    }
  }
  return true;
}

void Attachment::Resize() {
  if (!options_.tty || pid_ == 0) return;
  const WindowSize size = TerminalSize(IsTerminal(STDIN_FILENO) ? STDIN_FILENO : STDOUT_FILENO);
  if (size == size_) return;
  size_ = size;
  const json::object request{{"process", {{"pid", pid_}}},
                             {"pty", {{"size", {{"cols", size.cols}, {"rows", size.rows}}}}}};
  // A window of the wrong size is no reason to end a session.
  static_cast<void>(agent_.Call("/process.Process/Update", request, Deadline::After(kControlTime)));
}

void Attachment::SendSignal(const char* name) {
  if (pid_ == 0) return;
  // It may have ended by itself meanwhile; the stream will say so.
  static_cast<void>(agent_.Call("/process.Process/SendSignal",
                                json::object{{"process", {{"pid", pid_}}}, {"signal", name}},
                                Deadline::After(kControlTime)));
}

base::Result<> Attachment::CheckSandbox() {
  Session session = agent_.session();
  TRY_CTX(session.CallJson("GET", "/sandboxes/" + agent_.sandbox()), "the command fell silent");
  return {};
}

// Why the stream broke off, as far as the daemon knows.
base::Error Attachment::Lost(base::Error error) {
  if (pid_ == 0 || error.code() != Code::kUnavailable) return error;
  Session session = agent_.session();
  const auto detail = session.CallJson("GET", "/sandboxes/" + agent_.sandbox(), std::nullopt,
                                       Deadline::After(kControlTime));
  if (!detail && detail.error().code() == Code::kNotFound) {
    return base::Error(Code::kUnavailable,
                       fmt::format("sandbox '{}' was removed, or reached its timeout, while the "
                                   "command ran",
                                   agent_.sandbox()))
        .WithRemedy("Give a longer --timeout, or prolong it with: tinderbox timeout ID 1h");
  }
  if (detail && TextAt(*detail, "state") != "running") {
    return base::Error(Code::kUnavailable, fmt::format("sandbox '{}' is {} now", agent_.sandbox(),
                                                       TextAt(*detail, "state")))
        .WithRemedy("See what it said last: tinderbox logs " + agent_.sandbox());
  }
  return std::move(error).WithContext("lost the command's stream");
}

}  // namespace

int RunAttached(Agent& agent, const ProcessOptions& options, SignalQueue& signals) {
  bool started = false;
  int signal = 0;
  // The attachment ends, and with it the terminal's raw mode, before anything is printed.
  const auto status = [&] {
    Attachment attachment(agent, options, signals);
    auto result = attachment.Run();
    started = attachment.started();
    signal = attachment.first_signal();
    return result;
  }();
  if (status) return *status;
  PrintError(status.error());
  if (!started && status.error().code() == Code::kNotFound) return kNotFoundStatus;
  if (!started && status.error().code() == Code::kPermissionDenied) return kCannotExecute;
  if (signal != 0 && status.error().code() == Code::kCancelled) return 128 + signal;
  return kOwnFailure;
}

}  // namespace tinderbox::cli
