// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/signal_set.hpp>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "agent/process.h"

namespace tinderbox::agent {

using ProcessSelector = std::variant<pid_t, std::string>;  // by pid or by tag

// All processes that clients started: the living, and for 30 s those that ended. Collects every
// child that ends, also those that are not ours but were left to process 1.
class ProcessTable {
 public:
  static constexpr std::size_t kMaxProcesses = 1000;
  static constexpr std::chrono::seconds kRetention{30};

  explicit ProcessTable(const boost::asio::any_io_executor& executor);

  // `first` is attached before anything is read: the process's first output belongs to it.
  RpcResult<std::shared_ptr<Process>> Start(const SpawnSpec& spec, ProcessConfig config,
                                            std::optional<std::string> tag,
                                            std::shared_ptr<Subscriber> first);
  // Only living processes; not_found otherwise.
  RpcResult<std::shared_ptr<Process>> Find(const ProcessSelector& selector) const;
  // Also those that ended at most 30 s ago.
  RpcResult<std::shared_ptr<Process>> FindRecent(const ProcessSelector& selector);
  std::vector<std::shared_ptr<Process>> List() const;

 private:
  struct Ended {
    Wakeup::TimePoint until;
    std::shared_ptr<Process> process;
  };

  void AwaitChildren();
  void Reap();
  void Retire(pid_t pid);
  void DropOld();

  boost::asio::any_io_executor executor_;
  boost::asio::signal_set children_;
  std::map<pid_t, std::shared_ptr<Process>> live_;
  std::deque<Ended> ended_;
};

}  // namespace tinderbox::agent
