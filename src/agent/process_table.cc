// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/process_table.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>

namespace tinderbox::agent {
namespace {

using net::ConnectCode;

bool Matches(const Process& process, const ProcessSelector& selector) {
  if (const auto* pid = std::get_if<pid_t>(&selector)) return process.pid() == *pid;
  return process.tag() == std::get<std::string>(selector);
}

std::unexpected<net::ConnectError> NotFound(const ProcessSelector& selector) {
  if (const auto* pid = std::get_if<pid_t>(&selector)) {
    return RpcFail(ConnectCode::kNotFound, fmt::format("process with pid {} not found", *pid));
  }
  return RpcFail(ConnectCode::kNotFound,
                 fmt::format("process with tag {} not found", std::get<std::string>(selector)));
}

}  // namespace

ProcessTable::ProcessTable(const boost::asio::any_io_executor& executor)
    : executor_(executor), children_(executor, SIGCHLD) {
  AwaitChildren();
}

void ProcessTable::AwaitChildren() {
  children_.async_wait([this](boost::system::error_code ec, int) {
    if (ec) return;
    // Anew before reaping, so that no child's end falls between.
    AwaitChildren();
    Reap();
  });
}

void ProcessTable::Reap() {
  int status = 0;
  while (true) {
    const pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid <= 0) return;
    if (const auto found = live_.find(pid); found != live_.end()) {
      // A copy: the end may take the process out of the table.
      const std::shared_ptr<Process> process = found->second;
      process->OnExit(status);
    }
  }
}

RpcResult<std::shared_ptr<Process>> ProcessTable::Start(const SpawnSpec& spec, ProcessConfig config,
                                                        std::optional<std::string> tag,
                                                        std::shared_ptr<Subscriber> first) {
  if (live_.size() >= kMaxProcesses) {
    return RpcFail(ConnectCode::kResourceExhausted,
                   fmt::format("error starting process: {} processes are running", live_.size()));
  }
  base::Result<Spawned> spawned = Spawn(spec);
  if (!spawned) {
    return RpcFail(net::ConnectCodeFromBase(spawned.error().code()), spawned.error().ToString());
  }
  // The reaper runs on this thread too: the process is in the table before its end can be seen.
  const pid_t pid = spawned->pid;
  auto process =
      std::make_shared<Process>(executor_, std::move(config), std::move(tag), *std::move(spawned));
  // A process whose output outlives it may still be listed under the number.
  if (const auto old = live_.find(pid); old != live_.end()) Retire(pid);
  live_[pid] = process;
  process->Subscribe(first);
  process->Run([this, pid, raw = process.get()] {
    if (const auto found = live_.find(pid); found != live_.end() && found->second.get() == raw) {
      Retire(pid);
    }
  });
  return process;
}

void ProcessTable::Retire(pid_t pid) {
  const auto found = live_.find(pid);
  DropOld();
  if (ended_.size() >= kMaxProcesses) ended_.pop_front();
  ended_.push_back({std::chrono::steady_clock::now() + kRetention, std::move(found->second)});
  live_.erase(found);
}

void ProcessTable::DropOld() {
  const auto now = std::chrono::steady_clock::now();
  while (!ended_.empty() && ended_.front().until <= now) ended_.pop_front();
}

RpcResult<std::shared_ptr<Process>> ProcessTable::Find(const ProcessSelector& selector) const {
  for (const auto& [pid, process] : live_) {
    if (Matches(*process, selector)) return process;
  }
  return NotFound(selector);
}

RpcResult<std::shared_ptr<Process>> ProcessTable::FindRecent(const ProcessSelector& selector) {
  if (auto live = Find(selector)) return live;
  DropOld();
  const auto found = std::ranges::find_if(ended_.rbegin(), ended_.rend(), [&](const Ended& ended) {
    return Matches(*ended.process, selector);
  });
  if (found == ended_.rend()) return NotFound(selector);
  return found->process;
}

std::vector<std::shared_ptr<Process>> ProcessTable::List() const {
  std::vector<std::shared_ptr<Process>> list;
  for (const auto& [pid, process] : live_) list.push_back(process);
  return list;
}

}  // namespace tinderbox::agent
