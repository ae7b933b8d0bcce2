// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/spawn.h"
#include "agent/wakeup.h"
#include "net/connect_frame.h"
#include "net/http_message.h"

namespace tinderbox::agent {

template <typename T = void>
using RpcResult = std::expected<T, net::ConnectError>;
template <typename T = void>
using AsyncRpcResult = boost::asio::awaitable<RpcResult<T>>;

inline std::unexpected<net::ConnectError> RpcFail(net::ConnectCode code, std::string message) {
  return std::unexpected(net::ConnectError{code, std::move(message)});
}

// What a client asked for, as List shows it.
struct ProcessConfig {
  std::string cmd;
  std::vector<std::string> args;
  std::map<std::string, std::string> envs;
  std::optional<std::string> cwd;
};

// One client's place in a process's events. The process fills the queue with whole Connect frames,
// up to a bound: then it stops reading the process's output until this client has caught up.
class Subscriber {
 public:
  using Frame = std::shared_ptr<const std::string>;
  static constexpr std::size_t kQueueBytes = 256 << 10;

  explicit Subscriber(const boost::asio::any_io_executor& executor) : wakeup(executor) {}

  bool has_room() const { return bytes < kQueueBytes; }

  std::deque<Frame> queue;
  std::size_t bytes = 0;
  bool ended = false;  // the end event is in the queue
  bool gone = false;   // the client has left
  Wakeup wakeup;       // notified at every change
};

// One process that a client started, from its start to the end event. Belongs to the loop's thread;
// held by the table, by its pumps and by those attached to it.
class Process : public std::enable_shared_from_this<Process> {
 public:
  enum class Channel { kStdout, kStderr, kPty };

  Process(const boost::asio::any_io_executor& executor, ProcessConfig config,
          std::optional<std::string> tag, Spawned spawned);

  // Begins to read the output. `on_end` is called once, when the end event has been made.
  void Run(std::function<void()> on_end);

  pid_t pid() const { return pid_; }
  const ProcessConfig& config() const { return config_; }
  const std::optional<std::string>& tag() const { return tag_; }
  bool exited() const { return exited_; }
  // The end event's frame, once there is one.
  const Subscriber::Frame& end_frame() const { return end_frame_; }

  // Events from now on go to `subscriber` too; nothing is repeated.
  void Subscribe(const std::shared_ptr<Subscriber>& subscriber);
  void Unsubscribe(const std::shared_ptr<Subscriber>& subscriber);
  // The next frame of `subscriber`'s queue, which makes room.
  Subscriber::Frame TakeFrame(Subscriber& subscriber);

  // Writes all of `bytes`, waiting while the process does not read. Writes of several clients
  // follow each other whole. `cancelled` is looked at whenever CancelInput was called.
  AsyncRpcResult<> WriteInput(bool to_terminal, std::string bytes, std::shared_ptr<bool> cancelled);
  void CancelInput() {
    input_free_.Notify();
    input_ready_.Notify();
  }
  AsyncRpcResult<> CloseStdin();
  RpcResult<> SendSignal(int signal);
  RpcResult<> Resize(TerminalSize size);
  // Kills the process at `when`, attached or not.
  void KillAt(Wakeup::TimePoint when);

  // Called by the reaper with waitpid's status. A terminal ends now: what it holds is read, then it
  // is hung up. Pipes end at EOF, which background children that inherited them delay.
  void OnExit(int status);

 private:
  using Stream = boost::asio::posix::stream_descriptor;

  boost::asio::awaitable<void> Pump(Channel channel, std::shared_ptr<Stream> stream);
  bool HasRoom() const;
  void Publish(Channel channel, std::string_view bytes);
  void PublishFrame(const Subscriber::Frame& frame);
  // Stops waiting for EOF, which other processes can delay without end. What is already in the pipe
  // or terminal is still read.
  void EndOutputEarly();
  void MaybeEnd();
  AsyncRpcResult<> WriteAll(const std::shared_ptr<Stream>& stream, std::string_view bytes,
                            const bool& cancelled);

  boost::asio::any_io_executor executor_;
  const ProcessConfig config_;
  const std::optional<std::string> tag_;
  pid_t pid_;
  std::shared_ptr<Stream> stdin_;
  std::shared_ptr<Stream> terminal_;
  std::vector<std::pair<Channel, std::shared_ptr<Stream>>> outputs_;
  std::size_t open_outputs_ = 0;
  std::set<std::shared_ptr<Subscriber>> subscribers_;
  Wakeup room_;         // a subscriber has taken a frame or left
  Wakeup input_free_;   // the writer of stdin has finished
  Wakeup input_ready_;  // stdin may take more, or its writer is cancelled
  bool input_busy_ = false;
  bool wait_for_output_ = true;
  bool exited_ = false;
  int status_ = 0;
  std::optional<boost::asio::steady_timer> kill_timer_;
  std::function<void()> on_end_;
  Subscriber::Frame end_frame_;
};

// {"event":{"start":{"pid":N}}} and so on, as whole frames.
std::string StartFrame(pid_t pid);
std::string KeepaliveFrame();
std::string DataFrame(Process::Channel channel, std::string_view bytes);
std::string EndFrame(int wait_status);

}  // namespace tinderbox::agent
