// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/json.hpp>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "api/server.h"
#include "net/http_client.h"

// For the tests of this component: a manager without VMs, and the real server on real sockets.
namespace tinderbox::api {

class FakeManager final : public sandbox::Manager {
 public:
  base::Result<sandbox::SandboxInfo> Create(const sandbox::CreateRequest& request) override;
  base::Result<sandbox::SandboxInfo> Get(std::string_view id) override;
  std::vector<sandbox::SandboxInfo> List() override;
  std::optional<sandbox::PortAccess> Ports(std::string_view id) override;
  base::Result<> Kill(std::string_view id) override;
  base::Result<> SetTimeout(std::string_view id, std::chrono::seconds timeout) override;
  base::Result<sandbox::SandboxInfo> Extend(std::string_view id,
                                            std::chrono::seconds timeout) override;
  base::Result<> SetNetwork(std::string_view id, const sandbox::NetworkRules& rules) override;
  base::Result<> Pause(std::string_view id, const sandbox::PauseRequest& request) override;
  base::Result<sandbox::SandboxInfo> Resume(std::string_view id,
                                            const sandbox::ResumeRequest& request) override;
  base::Result<Connected> Connect(std::string_view id,
                                  const sandbox::ResumeRequest& request) override;
  base::Result<std::vector<base::Result<sandbox::SandboxInfo>>> Fork(
      std::string_view id, const sandbox::ForkRequest& request) override;
  base::Result<sandbox::TemplateInfo> Snapshot(std::string_view id,
                                               const sandbox::SnapshotOptions& options) override;
  base::Result<sandbox::SandboxInfo> Rollback(std::string_view id,
                                              std::string_view snapshot) override;
  base::Result<std::vector<sandbox::TemplateInfo>> Templates() override;
  base::Result<sandbox::TemplateInfo> GetTemplate(std::string_view id_or_name) override;
  base::Result<> RemoveTemplate(std::string_view id_or_name) override;
  base::Result<> Verify(std::string_view id_or_name) override;
  base::Result<Pruned> Prune() override;
  base::Result<std::vector<sandbox::Event>> Events(const sandbox::EventRequest& request) override;
  base::Result<sys::UniqueFd> Dial(std::string_view id, std::uint16_t port,
                                   base::Deadline deadline) override;
  base::Result<std::string> Console(std::string_view id, std::size_t max_bytes) override;
  void OnGone(std::function<void(const std::string& id)> callback) override;
  std::vector<std::string> RecoveryReport() override { return {"sandbox 'x' runs on"}; }

  void Put(sandbox::SandboxInfo info);
  void Gone(const std::string& id);  // as after a death

  std::mutex mutex;
  std::map<std::string, sandbox::SandboxInfo, std::less<>> sandboxes;
  std::vector<sandbox::CreateRequest> creates;
  std::vector<sandbox::PauseRequest> pauses;
  std::vector<sandbox::ResumeRequest> resumes;
  std::vector<sandbox::ForkRequest> forks;
  std::vector<sandbox::SnapshotOptions> snapshot_options;
  std::vector<std::string> rollbacks;  // "<sandbox> <snapshot>"
  std::vector<sandbox::TemplateInfo> snapshots;
  std::vector<sandbox::Event> events;  // in the order in which they happened
  std::vector<sandbox::EventRequest> event_requests;
  std::vector<std::pair<std::string, std::int64_t>>
      timeouts;                     // "set:<id>" or "extend:<id>", seconds
  std::function<void()> in_create;  // runs within every Create
  std::optional<base::Error> fail_create;
  std::optional<base::Error> fail_change;  // of every pause, fork, snapshot, rollback, removal
  std::map<std::uint16_t, std::uint16_t> ports;  // of the guest → of this host's loopback
  std::function<void()> before_dial_returns;
  std::atomic<int> dials = 0;

 private:
  std::function<void(const std::string& id)> gone_;
};

// Something that happened to sandbox "i1", in its only life.
sandbox::Event EventAt(std::int64_t at_ms, sandbox::EventKind kind);

// A running sandbox of that id.
sandbox::SandboxInfo Running(const std::string& id, std::int64_t started_at_ms = 1764000000123);

class FakeHost final : public HostView {
 public:
  boost::json::object Info() override { return {{"version", "0"}}; }
  std::vector<Check> Doctor() override {
    return {{"root", "ok", "runs as root", ""}, {"kvm", "fail", "none", "Buy a better host."}};
  }
  base::Result<boost::json::array> Lost() override {
    boost::json::array list;
    for (const std::string& name : lost) list.push_back(boost::json::object{{"name", name}});
    return list;
  }
  base::Result<boost::json::object> AdoptLost(const std::string& name,
                                              const std::string& as) override {
    if (std::erase(lost, name) == 0) return base::Fail(base::Code::kNotFound, "no entry");
    return boost::json::object{{"kind", "volume"}, {"id", name}, {"label", as}};
  }
  base::Result<> RemoveLost(const std::string& name) override {
    if (std::erase(lost, name) == 0) return base::Fail(base::Code::kNotFound, "no entry");
    return {};
  }
  std::vector<std::string> lost = {"volume-v1", "sandbox-i1"};
  boost::json::object SandboxPaths(const sandbox::SandboxInfo& info) override {
    return {{"runDir", "/run/" + info.id}};
  }
};

// The server on a loopback port and a unix socket, its loop on a thread of its own.
class ApiTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;
  virtual ServerOptions Options() { return {.domain = "sandboxes.test:3000"}; }

  net::HttpClient Client(bool unix_socket = false);
  // With the key, over TCP.
  net::HttpResponse Call(const std::string& method, const std::string& target,
                         const std::string& body = {}, net::HttpHeaders headers = {});
  net::HttpResponse CallAsRoot(const std::string& method, const std::string& target,
                               const std::string& body = {});
  net::HttpResponse CallWithoutKey(const std::string& method, const std::string& target,
                                   net::HttpHeaders headers = {}, const std::string& body = {});
  // Runs `work` on the loop's thread.
  void OnLoop(const std::function<void()>& work);

  std::string dir_;
  std::string key_;
  std::uint16_t port_ = 0;
  FakeManager manager_;
  FakeHost host_;
  std::unique_ptr<store::Store> store_;
  std::unique_ptr<secret::Vault> secrets_;
  std::unique_ptr<volume::Volumes> volumes_;
  std::atomic<bool> pool_full_ = false;
  boost::asio::io_context io_;
  std::unique_ptr<Server> server_;
  std::thread loop_;
};

boost::json::value Json(const net::HttpResponse& response);
std::string Header(const net::HttpResponse& response, std::string_view name);
// An error as every client needs it, with `words` in its message.
void ExpectError(const net::HttpResponse& response, int status, std::string_view words = "");

}  // namespace tinderbox::api
