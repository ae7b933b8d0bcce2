// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/value.hpp>
#include <condition_variable>
#include <functional>
#include <list>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "sys/fd.h"

namespace tinderbox::cli {

// For tests: a daemon with an agent behind it, on a unix socket, one thread per connection. It
// keeps sandboxes in a map, and runs "commands" that are scripts of its own (see
// FakeDaemon::Command).
class FakeDaemon {
 public:
  struct Request {
    std::string method, target, body;
    std::map<std::string, std::string> headers;  // names in lower case
  };

  explicit FakeDaemon(std::string socket_path);
  FakeDaemon(const FakeDaemon&) = delete;
  FakeDaemon& operator=(const FakeDaemon&) = delete;
  ~FakeDaemon();

  const std::string& path() const { return path_; }
  // Ids of the sandboxes that are there.
  std::vector<std::string> sandboxes();
  void AddSandbox(const std::string& id, const std::string& name, const std::string& state);
  // Traffic to it resumes it.
  void SetAutoResume(const std::string& id);
  void AddTemplate(const std::string& id, const std::string& name, const std::string& sandbox);
  // Requests whose target begins so, in the order in which they came.
  std::vector<Request> Seen(const std::string& prefix);
  // A create answers this much later.
  void set_create_delay_ms(int ms) { create_delay_ms_ = ms; }
  std::string& file(const std::string& path) { return files_[path]; }
  // Forgets the API keys that it has made.
  void RevokeKeys();
  // From now on a real agent answers what is meant for a sandbox's agent: 127.0.0.1, this port.
  void set_agent_port(std::uint16_t port) { agent_port_ = port; }

 private:
  class Connection;

  // The process that a Start began; one at a time.
  struct Process {
    std::string input;
    bool closed = false;
    std::string signal;
    std::string size;
  };

  void Accept();
  void Serve(Connection& connection);
  void Splice(int client);
  void Control(Connection& connection, const Request& request);
  // Pause to prune; false for another target.
  bool LifecycleCall(Connection& connection, const Request& request);
  // Volumes and secrets, in as far as the client sees them; false for another target.
  bool EventCall(Connection& connection, const Request& request);
  bool VolumeCall(Connection& connection, const Request& request);
  bool LostCall(Connection& connection, const Request& request);
  bool SecretCall(Connection& connection, const Request& request);
  // info and API keys; false for another target.
  bool HostCall(Connection& connection, const Request& request);
  void AgentCall(Connection& connection, const Request& request);
  void Start(Connection& connection, const Request& request);
  void Command(Connection& connection, const std::string& cmd, const boost::json::value& process);
  void Files(Connection& connection, const Request& request);
  template <typename Condition>
  void Await(Condition condition);

  std::string path_;
  sys::UniqueFd listener_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  std::vector<Request> seen_;
  std::map<std::string, boost::json::object> sandboxes_;
  std::map<std::string, boost::json::object> templates_;  // by id
  std::map<std::string, boost::json::value> volumes_;     // by name
  std::set<std::string> lost_ = {"sandbox-i1", "volume-v1"};
  std::map<std::string, int> secrets_;  // name → version
  std::map<std::string, std::string> files_;
  std::vector<std::string> keys_;
  int made_keys_ = 0;
  Process process_;
  int created_ = 0;
  int create_delay_ms_ = 0;
  std::uint16_t agent_port_ = 0;
  std::list<int> open_;
  std::vector<std::thread> threads_;
  std::thread accepting_;
};

}  // namespace tinderbox::cli
