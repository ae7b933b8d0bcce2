// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/process.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>

#include "base/base64.h"

namespace tinderbox::agent {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kPipeChunk = 32 << 10;
constexpr std::size_t kPtyChunk = 16 << 10;
// What is read after a forced end: as much as a pipe of the largest size holds.
constexpr std::size_t kLateOutput = 1 << 20;
// Reads in a row after which the rest of the program gets its turn.
constexpr int kTurn = 8;

using net::ConnectCode;

std::string SignalText(int signal) {
  switch (signal) {
    case SIGKILL: return "killed";
    case SIGTERM: return "terminated";
    case SIGINT: return "interrupt";
    case SIGHUP: return "hangup";
    case SIGQUIT: return "quit";
    case SIGSEGV: return "segmentation fault";
    case SIGABRT: return "aborted";
    case SIGPIPE: return "broken pipe";
    case SIGBUS: return "bus error";
    case SIGFPE: return "floating point exception";
    case SIGILL: return "illegal instruction";
    case SIGALRM: return "alarm clock";
    case SIGTRAP: return "trace/breakpoint trap";
    case SIGUSR1: return "user defined signal 1";
    case SIGUSR2: return "user defined signal 2";
    default: return fmt::format("signal {}", signal);
  }
}

std::string Frame(std::string_view json) { return net::EncodeConnectFrame(0, json); }

}  // namespace

std::string StartFrame(pid_t pid) {
  return Frame(fmt::format(R"({{"event":{{"start":{{"pid":{}}}}}}})", pid));
}

std::string KeepaliveFrame() { return Frame(R"({"event":{"keepalive":{}}})"); }

// Built in place: this is the path of every byte that a process prints.
std::string DataFrame(Process::Channel channel, std::string_view bytes) {
  std::string_view open = R"({"event":{"data":{"pty":")";
  if (channel == Process::Channel::kStdout) open = R"({"event":{"data":{"stdout":")";
  if (channel == Process::Channel::kStderr) open = R"({"event":{"data":{"stderr":")";
  constexpr std::string_view kClose = R"("}}})";
  std::string frame;
  frame.reserve(net::kConnectFrameHead + open.size() + (bytes.size() + 2) / 3 * 4 + kClose.size());
  net::AppendConnectHead(frame, 0, 0);
  frame += open;
  base::AppendBase64(frame, bytes);
  frame += kClose;
  net::PatchConnectLength(frame, 0,
                          static_cast<std::uint32_t>(frame.size() - net::kConnectFrameHead));
  return frame;
}

std::string EndFrame(int wait_status) {
  if (WIFSIGNALED(wait_status)) {
    const std::string text = "signal: " + SignalText(WTERMSIG(wait_status));
    return Frame(fmt::format(
        R"({{"event":{{"end":{{"exitCode":-1,"status":"{0}","error":"{0}"}}}}}})", text));
  }
  const int code = WEXITSTATUS(wait_status);
  if (code == 0) return Frame(R"({"event":{"end":{"exited":true,"status":"exit status 0"}}})");
  return Frame(fmt::format(
      R"({{"event":{{"end":{{"exitCode":{0},"exited":true,"status":"exit status {0}","error":"exit status {0}"}}}}}})",
      code));
}

Process::Process(const asio::any_io_executor& executor, ProcessConfig config,
                 std::optional<std::string> tag, Spawned spawned)
    : executor_(executor),
      config_(std::move(config)),
      tag_(std::move(tag)),
      pid_(spawned.pid),
      room_(executor),
      input_free_(executor),
      input_ready_(executor) {
  const auto adopt = [&](sys::UniqueFd& fd) {
    return std::make_shared<Stream>(executor, fd.Release());
  };
  if (spawned.stdin_pipe) stdin_ = adopt(spawned.stdin_pipe);
  if (spawned.terminal) {
    terminal_ = adopt(spawned.terminal);
    outputs_.emplace_back(Channel::kPty, terminal_);
  } else {
    outputs_.emplace_back(Channel::kStdout, adopt(spawned.stdout_pipe));
    outputs_.emplace_back(Channel::kStderr, adopt(spawned.stderr_pipe));
  }
}

void Process::Run(std::function<void()> on_end) {
  on_end_ = std::move(on_end);
  open_outputs_ = outputs_.size();
  // The pumps hold the process: it lives as long as its output does.
  for (const auto& [channel, stream] : outputs_) {
    asio::co_spawn(
        executor_,
        [](std::shared_ptr<Process> self, Channel c,
           std::shared_ptr<Stream> s) -> asio::awaitable<void> {
          co_await self->Pump(c, std::move(s));
        }(shared_from_this(), channel, stream),
        asio::detached);
  }
}

// --- Output

bool Process::HasRoom() const {
  for (const auto& subscriber : subscribers_) {
    if (!subscriber->has_room()) return false;
  }
  return true;
}

// Reads one stream of the process to its end. Never faster than the slowest client that is
// attached; with nobody attached the output is thrown away, so that the process does not stand
// still.
asio::awaitable<void> Process::Pump(Channel channel, std::shared_ptr<Stream> stream) {
  std::array<char, kPipeChunk> buffer;
  const std::size_t chunk = channel == Channel::kPty ? kPtyChunk : kPipeChunk;
  std::size_t late = 0;
  int turn = 0;
  boost::system::error_code ec;
  while (late < kLateOutput) {
    while (!HasRoom()) co_await room_.Wait();
    const ssize_t n = ::read(stream->native_handle(), buffer.data(), chunk);
    if (n > 0) {
      Publish(channel, {buffer.data(), static_cast<std::size_t>(n)});
      if (exited_ && !wait_for_output_) late += static_cast<std::size_t>(n);
      if (++turn % kTurn == 0) co_await asio::post(executor_, asio::use_awaitable);
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    // End of file, or EIO: nobody has the terminal open any more.
    if (n == 0 || errno != EAGAIN) break;
    if (exited_ && !wait_for_output_) break;
    co_await stream->async_wait(Stream::wait_read, asio::redirect_error(asio::use_awaitable, ec));
  }
  // The terminal stays open for input and for resizing until the process itself has ended.
  if (channel != Channel::kPty) stream->close(ec);
  --open_outputs_;
  MaybeEnd();
}

void Process::Publish(Channel channel, std::string_view bytes) {
  if (subscribers_.empty()) return;
  PublishFrame(std::make_shared<const std::string>(DataFrame(channel, bytes)));
}

void Process::PublishFrame(const Subscriber::Frame& frame) {
  for (const auto& subscriber : subscribers_) {
    subscriber->queue.push_back(frame);
    subscriber->bytes += frame->size();
    subscriber->wakeup.Notify();
  }
}

void Process::Subscribe(const std::shared_ptr<Subscriber>& subscriber) {
  if (end_frame_) {
    subscriber->queue.push_back(end_frame_);
    subscriber->ended = true;
    return;
  }
  subscribers_.insert(subscriber);
}

void Process::Unsubscribe(const std::shared_ptr<Subscriber>& subscriber) {
  subscribers_.erase(subscriber);
  room_.Notify();
}

Subscriber::Frame Process::TakeFrame(Subscriber& subscriber) {
  Subscriber::Frame frame = std::move(subscriber.queue.front());
  subscriber.queue.pop_front();
  const bool was_full = !subscriber.has_room();
  subscriber.bytes -= std::min(subscriber.bytes, frame->size());
  if (was_full) room_.Notify();
  return frame;
}

// --- End

void Process::OnExit(int status) {
  exited_ = true;
  status_ = status;
  CancelInput();
  // The kernel hangs a terminal up when its session leader exits, but the master reads EOF only
  // when the last descriptor of the other side is closed. A background job may never close its own.
  if (terminal_) wait_for_output_ = false;
  if (!wait_for_output_) EndOutputEarly();
  MaybeEnd();
}

void Process::EndOutputEarly() {
  wait_for_output_ = false;
  if (!exited_) return;
  boost::system::error_code ignored;
  for (const auto& [channel, stream] : outputs_) {
    if (stream->is_open()) stream->cancel(ignored);
  }
}

void Process::MaybeEnd() {
  if (!exited_ || open_outputs_ > 0 || end_frame_) return;
  kill_timer_.reset();
  end_frame_ = std::make_shared<const std::string>(EndFrame(status_));
  PublishFrame(end_frame_);
  for (const auto& subscriber : subscribers_) subscriber->ended = true;
  subscribers_.clear();
  boost::system::error_code ignored;
  if (stdin_) stdin_->close(ignored);
  if (terminal_) terminal_->close(ignored);
  outputs_.clear();
  CancelInput();
  if (auto on_end = std::exchange(on_end_, nullptr)) on_end();
}

RpcResult<> Process::SendSignal(int signal) {
  wait_for_output_ = false;
  // Reaped: its number may be another process's by now. What still holds its output open is let go.
  if (exited_) {
    EndOutputEarly();
    return {};
  }
  if (::kill(pid_, signal) != 0) {
    return RpcFail(ConnectCode::kInternal,
                   fmt::format("error sending signal: {}", std::strerror(errno)));
  }
  return {};
}

void Process::KillAt(Wakeup::TimePoint when) {
  kill_timer_.emplace(executor_, when);
  kill_timer_->async_wait([weak = weak_from_this()](boost::system::error_code ec) {
    const auto self = weak.lock();
    if (ec || !self || self->end_frame_) return;
    // What it left behind may hold the output open: the deadline does not wait for that either.
    self->wait_for_output_ = false;
    if (self->exited_) return self->EndOutputEarly();
    ::kill(self->pid_, SIGKILL);
  });
}

// --- Input

AsyncRpcResult<> Process::WriteInput(bool to_terminal, std::string bytes,
                                     std::shared_ptr<bool> cancelled) {
  const auto self = shared_from_this();
  if (to_terminal != (terminal_ != nullptr)) {
    co_return RpcFail(ConnectCode::kInternal,
                      to_terminal ? "error writing to tty: tty not assigned to process"
                                  : "error writing to stdin: tty assigned to process");
  }
  while (input_busy_ && !*cancelled) co_await input_free_.Wait();
  if (*cancelled) co_return RpcFail(ConnectCode::kCanceled, "client disconnected");
  const std::shared_ptr<Stream> stream = to_terminal ? terminal_ : stdin_;
  if (!stream || !stream->is_open()) {
    co_return RpcFail(ConnectCode::kInternal,
                      to_terminal ? "error writing to tty: the process has ended"
                                  : "error writing to stdin: stdin not enabled or closed");
  }
  input_busy_ = true;
  RpcResult<> written = co_await WriteAll(stream, bytes, *cancelled);
  input_busy_ = false;
  input_free_.Notify();
  co_return written;
}

AsyncRpcResult<> Process::WriteAll(const std::shared_ptr<Stream>& stream, std::string_view bytes,
                                   const bool& cancelled) {
  while (!bytes.empty()) {
    if (cancelled) co_return RpcFail(ConnectCode::kCanceled, "client disconnected");
    if (!stream->is_open()) co_return RpcFail(ConnectCode::kInternal, "error writing: closed");
    const ssize_t n = ::write(stream->native_handle(), bytes.data(), bytes.size());
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) {
      co_return RpcFail(ConnectCode::kInternal,
                        fmt::format("error writing to stdin: {}", std::strerror(errno)));
    }
    // A plain wait could not be cancelled alone: the terminal's reader waits on the same
    // descriptor.
    stream->async_wait(Stream::wait_write, [weak = weak_from_this()](boost::system::error_code) {
      if (const auto self = weak.lock()) self->input_ready_.Notify();
    });
    co_await input_ready_.Wait();
    if (exited_ && !terminal_) {
      co_return RpcFail(ConnectCode::kInternal, "error writing to stdin: the process has ended");
    }
  }
  co_return RpcResult<>{};
}

AsyncRpcResult<> Process::CloseStdin() {
  const auto self = shared_from_this();
  if (terminal_) {
    co_return RpcFail(ConnectCode::kUnknown, "error closing stdin: tty assigned to process");
  }
  // What was sent before comes first.
  while (input_busy_) co_await input_free_.Wait();
  boost::system::error_code ignored;
  if (stdin_) stdin_->close(ignored);
  co_return RpcResult<>{};
}

RpcResult<> Process::Resize(TerminalSize size) {
  if (!terminal_ || !terminal_->is_open()) {
    return RpcFail(ConnectCode::kInternal, "error resizing tty: tty not assigned to process");
  }
  const base::Result<> resized =
      SetTerminalSize(sys::FdRef::Borrow(terminal_->native_handle()), size);
  if (!resized) return RpcFail(ConnectCode::kInternal, resized.error().ToString());
  return {};
}

}  // namespace tinderbox::agent
