// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/api_test_fixture.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <filesystem>
#include <future>

namespace tinderbox::api {

using base::Code;
using base::Fail;
using base::Result;
using sandbox::SandboxInfo;
using sandbox::State;

SandboxInfo Running(const std::string& id, std::int64_t started_at_ms) {
  SandboxInfo info;
  info.id = id;
  info.state = State::kRunning;
  info.template_id = "t1";
  info.template_name = "base";
  info.started_at_ms = started_at_ms;
  info.end_at_ms = started_at_ms + 300'000;
  info.memory_mib = 512;
  info.cpus = 1;
  info.disk_mib = 2048;
  info.access_token = "token-of-" + id;
  info.vmm = "fake";
  return info;
}

void FakeManager::Put(SandboxInfo info) {
  const std::lock_guard lock(mutex);
  sandboxes[info.id] = std::move(info);
}

Result<SandboxInfo> FakeManager::Create(const sandbox::CreateRequest& request) {
  if (in_create) in_create();
  const std::lock_guard lock(mutex);
  creates.push_back(request);
  if (fail_create) return std::unexpected(*fail_create);
  if (request.template_id != "base") {
    return Fail(Code::kNotFound, "template '" + request.template_id + "' not found");
  }
  SandboxInfo info = Running("inew" + std::to_string(creates.size()));
  info.metadata = request.metadata;
  if (!request.public_ports) info.ports.traffic_token = "traffic-of-" + info.id;
  info.ports.mask_host = request.mask_host;
  info.ports.https_ports = request.https_ports;
  info.network = request.network;
  info.volume_mounts = request.volume_mounts;
  info.on_timeout = request.on_timeout;
  info.auto_pause_mode = request.auto_pause_mode;
  info.auto_resume = request.auto_resume;
  info.started_by = request.cold ? "boot" : "restore";
  info.timings_ms = {{"network", 1.5}, {"total", 20}};
  sandboxes[info.id] = info;
  return info;
}

Result<SandboxInfo> FakeManager::Get(std::string_view id) {
  const std::lock_guard lock(mutex);
  const auto found = sandboxes.find(id);
  if (found == sandboxes.end()) {
    return Fail(Code::kNotFound, "sandbox '" + std::string(id) + "' was not found");
  }
  return found->second;
}

std::vector<SandboxInfo> FakeManager::List() {
  const std::lock_guard lock(mutex);
  std::vector<SandboxInfo> all;
  for (const auto& [id, info] : sandboxes) all.push_back(info);
  return all;
}

std::optional<sandbox::PortAccess> FakeManager::Ports(std::string_view id) {
  const auto info = Get(id);
  if (!info) return std::nullopt;
  return info->ports;
}

Result<> FakeManager::Kill(std::string_view id) {
  if (auto found = Get(id); !found) return std::unexpected(found.error());
  Gone(std::string(id));
  return {};
}

void FakeManager::Gone(const std::string& id) {
  std::function<void(const std::string&)> callback;
  {
    const std::lock_guard lock(mutex);
    sandboxes.erase(id);
    callback = gone_;
  }
  if (callback) callback(id);
}

Result<> FakeManager::SetTimeout(std::string_view id, std::chrono::seconds timeout) {
  const auto info = Get(id);
  if (!info) return std::unexpected(info.error());
  if (info->state != State::kRunning) return Fail(Code::kFailedPrecondition, "it is not running");
  const std::lock_guard lock(mutex);
  timeouts.emplace_back("set:" + std::string(id), timeout.count());
  return {};
}

Result<SandboxInfo> FakeManager::Extend(std::string_view id, std::chrono::seconds timeout) {
  const auto info = Get(id);
  if (!info) return std::unexpected(info.error());
  if (info->state != State::kRunning) return Fail(Code::kFailedPrecondition, "it is not running");
  const std::lock_guard lock(mutex);
  timeouts.emplace_back("extend:" + std::string(id), timeout.count());
  return *info;
}

Result<> FakeManager::SetNetwork(std::string_view id, const sandbox::NetworkRules& rules) {
  auto info = Get(id);
  if (!info) return std::unexpected(info.error());
  if (fail_change) return std::unexpected(*fail_change);
  info->network = rules;
  Put(*info);
  return {};
}

Result<> FakeManager::Pause(std::string_view id, const sandbox::PauseRequest& request) {
  auto info = Get(id);
  if (!info) return std::unexpected(info.error());
  if (info->state != State::kRunning) return Fail(Code::kFailedPrecondition, "it is not running");
  pauses.push_back(request);
  if (fail_change) return std::unexpected(*fail_change);
  info->state = State::kPaused;
  info->pause_mode = request.mode;
  Put(*info);
  return {};
}

Result<SandboxInfo> FakeManager::Resume(std::string_view id,
                                        const sandbox::ResumeRequest& request) {
  auto info = Get(id);
  if (!info) return info;
  if (info->state != State::kPaused)
    return Fail(Code::kFailedPrecondition, "it is running already");
  resumes.push_back(request);
  info->state = State::kRunning;
  info->pause_mode.reset();
  info->agent_silent_at_pause = false;
  Put(*info);
  return info;
}

Result<sandbox::Manager::Connected> FakeManager::Connect(std::string_view id,
                                                         const sandbox::ResumeRequest& request) {
  auto info = Get(id);
  if (!info) return std::unexpected(info.error());
  if (info->state == State::kPaused) {
    return Connected{.info = TRY(Resume(id, request)), .resumed = true};
  }
  const auto timeout = request.timeout.value_or(std::chrono::seconds(300));
  return Connected{.info = TRY(Extend(id, timeout)), .resumed = false};
}

Result<std::vector<Result<SandboxInfo>>> FakeManager::Fork(std::string_view id,
                                                           const sandbox::ForkRequest& request) {
  const auto info = Get(id);
  if (!info) return std::unexpected(info.error());
  if (info->state != State::kRunning) return Fail(Code::kFailedPrecondition, "it is not running");
  forks.push_back(request);
  if (fail_change) return std::unexpected(*fail_change);
  std::vector<Result<SandboxInfo>> children;
  for (std::uint32_t i = 0; i < request.count; ++i) {
    SandboxInfo child = Running(std::string(id) + "child" + std::to_string(i));
    Put(child);
    children.emplace_back(std::move(child));
  }
  if (request.count == 3) children[1] = Fail(Code::kResourceExhausted, "no room for the second");
  return children;
}

Result<sandbox::TemplateInfo> FakeManager::Snapshot(std::string_view id,
                                                    const sandbox::SnapshotOptions& options) {
  if (auto found = Get(id); !found) return std::unexpected(found.error());
  const std::lock_guard lock(mutex);
  snapshot_options.push_back(options);
  if (fail_change) return std::unexpected(*fail_change);
  sandbox::TemplateInfo snapshot;
  snapshot.created_at = "2026-11-24T00:00:0" + std::to_string(snapshots.size() % 10) + "Z";
  snapshot.has_memory = options.mode == sandbox::PauseMode::kFull;
  snapshot.id = "snap" + std::to_string(snapshots.size());
  if (!options.name.empty()) snapshot.names = {options.name};
  snapshot.is_snapshot = true;
  snapshot.source_sandbox = id;
  snapshots.push_back(snapshot);
  return snapshot;
}

Result<SandboxInfo> FakeManager::Rollback(std::string_view id, std::string_view snapshot) {
  TRY(GetTemplate(snapshot));
  rollbacks.push_back(std::string(id) + " " + std::string(snapshot));
  return Get(id);
}

Result<std::vector<sandbox::TemplateInfo>> FakeManager::Templates() {
  const std::lock_guard lock(mutex);
  std::vector<sandbox::TemplateInfo> all = snapshots;
  sandbox::TemplateInfo base;
  base.id = "t1";
  base.names = {"base"};
  base.cpus = 1;
  base.memory_mib = 512;
  base.disk_mib = 2048;
  base.created_at = "2026-11-24T00:00:00Z";
  all.push_back(base);
  return all;
}

Result<sandbox::TemplateInfo> FakeManager::GetTemplate(std::string_view id_or_name) {
  for (sandbox::TemplateInfo& each : TRY(Templates())) {
    const bool named =
        std::find(each.names.begin(), each.names.end(), id_or_name) != each.names.end();
    if (each.id == id_or_name || named) return std::move(each);
  }
  return Fail(Code::kNotFound, "template '" + std::string(id_or_name) + "' not found");
}

Result<> FakeManager::RemoveTemplate(std::string_view id_or_name) {
  const auto found = TRY(GetTemplate(id_or_name));
  if (fail_change) return std::unexpected(*fail_change);
  const std::lock_guard lock(mutex);
  std::erase_if(snapshots, [&](const auto& each) { return each.id == found.id; });
  return {};
}

Result<> FakeManager::Verify(std::string_view id_or_name) {
  TRY(GetTemplate(id_or_name));
  if (id_or_name == "snap0") return Fail(Code::kDataLoss, "'memory.img' differs");
  return {};
}

Result<sandbox::Manager::Pruned> FakeManager::Prune() {
  return Pruned{.removed = {"boot snapshot 'x'"}, .freed_bytes = 4096};
}

Result<sys::UniqueFd> FakeManager::Dial(std::string_view id, std::uint16_t port,
                                        base::Deadline deadline) {
  ++dials;
  const auto found = Get(id);
  if (!found) return std::unexpected(found.error());
  if (found->no_space) {
    return std::unexpected(
        base::Error(Code::kResourceExhausted, "it waits for free space").WithErrno(ENOSPC));
  }
  std::uint16_t real = 0;
  {
    const std::lock_guard lock(mutex);
    if (const auto known = ports.find(port); known != ports.end()) real = known->second;
  }
  if (real == 0) return Fail(Code::kUnavailable, "connection refused");
  auto fd = net::ConnectTo({.unix_path = {}, .host = "127.0.0.1", .port = real}, deadline);
  if (before_dial_returns) before_dial_returns();
  return fd;
}

Result<std::vector<sandbox::Event>> FakeManager::Events(const sandbox::EventRequest& request) {
  const std::lock_guard lock(mutex);
  event_requests.push_back(request);
  std::vector<sandbox::Event> found;
  for (const sandbox::Event& event : events) {
    if (request.sandbox_id.empty() || request.sandbox_id == event.sandbox_id) {
      found.push_back(event);
    }
  }
  if (!request.ascending) std::ranges::reverse(found);
  return found;
}

sandbox::Event EventAt(std::int64_t at_ms, sandbox::EventKind kind) {
  sandbox::Event event;
  event.id = "0b0e7c5e-0000-4000-8000-000000000001";
  event.at_ms = at_ms;
  event.kind = kind;
  event.sandbox_id = "i1";
  event.execution_id = "life-1";
  event.template_id = "t1";
  return event;
}

Result<std::string> FakeManager::Console(std::string_view id, std::size_t max_bytes) {
  if (auto found = Get(id); !found) return std::unexpected(found.error());
  std::string text = "first line\r\n\x1b[0msecond \xff line\nlast";
  if (text.size() > max_bytes) text.erase(0, text.size() - max_bytes);
  return text;
}

void FakeManager::OnGone(std::function<void(const std::string& id)> callback) {
  const std::lock_guard lock(mutex);
  gone_ = std::move(callback);
}

void ApiTest::SetUp() {
  dir_ = testing::TempDir() + "tb-api-XXXXXX";
  ASSERT_NE(mkdtemp(dir_.data()), nullptr);
  auto store = store::OpenStore(dir_ + "/t.db");
  ASSERT_TRUE(store) << store.error().ToString();
  store_ = std::move(*store);
  key_ = store_->Keys().Create("test", 0).value().key;
  secrets_ = std::make_unique<secret::Vault>(store_->Secrets(), dir_ + "/secrets.key");
  auto volumes = volume::Volumes::Open({.directory = dir_ + "/volumes",
                                        .store = *store_,
                                        .ensure_room = [this](std::uint64_t) -> Result<> {
                                          if (!pool_full_) return {};
                                          return Fail(Code::kResourceExhausted, "the pool is full");
                                        }});
  ASSERT_TRUE(volumes) << volumes.error().ToString();
  volumes_ = std::move(*volumes);
  server_ =
      std::make_unique<Server>(io_, manager_, *store_, *secrets_, *volumes_, host_, Options());
  const auto port = server_->ListenTcp("127.0.0.1", 0);
  ASSERT_TRUE(port) << port.error().ToString();
  port_ = *port;
  const auto listening = server_->ListenUnix(dir_ + "/s", 0666);
  ASSERT_TRUE(listening) << listening.error().ToString();
  loop_ = std::thread([this] {
    const auto guard = boost::asio::make_work_guard(io_);
    io_.run();
  });
}

void ApiTest::TearDown() {
  std::promise<void> stopped;
  boost::asio::co_spawn(io_, server_->Stop(base::Deadline::After(std::chrono::seconds(5))),
                        [&stopped](std::exception_ptr) { stopped.set_value(); });
  const auto ended = stopped.get_future().wait_for(std::chrono::seconds(15));
  EXPECT_EQ(ended, std::future_status::ready) << "the server does not stop";
  io_.stop();
  loop_.join();
  server_.reset();
  secrets_.reset();
  volumes_.reset();
  store_.reset();
  std::filesystem::remove_all(dir_);
}

void ApiTest::OnLoop(const std::function<void()>& work) {
  std::promise<void> done;
  boost::asio::post(io_, [&] {
    work();
    done.set_value();
  });
  done.get_future().wait();
}

net::HttpClient ApiTest::Client(bool unix_socket) {
  const auto deadline = base::Deadline::After(std::chrono::seconds(5));
  auto client = unix_socket ? net::HttpClient::ConnectUnix(dir_ + "/s", deadline)
                            : net::HttpClient::ConnectTcp("127.0.0.1", port_, deadline);
  if (!client) {
    ADD_FAILURE() << client.error().ToString();
    abort();
  }
  return std::move(*client);
}

net::HttpResponse Exchange(net::HttpClient client, const std::string& method,
                           const std::string& target, const std::string& body,
                           net::HttpHeaders headers) {
  if (!body.empty()) headers.push_back({"Content-Type", "application/json"});
  auto response = client.Request({method, target, std::move(headers), body},
                                 base::Deadline::After(std::chrono::seconds(20)));
  if (!response) {
    ADD_FAILURE() << method << " " << target << ": " << response.error().ToString();
    return {};
  }
  return std::move(*response);
}

net::HttpResponse ApiTest::Call(const std::string& method, const std::string& target,
                                const std::string& body, net::HttpHeaders headers) {
  headers.push_back({"X-API-KEY", key_});
  return Exchange(Client(), method, target, body, std::move(headers));
}

net::HttpResponse ApiTest::CallAsRoot(const std::string& method, const std::string& target,
                                      const std::string& body) {
  return Exchange(Client(true), method, target, body, {});
}

net::HttpResponse ApiTest::CallWithoutKey(const std::string& method, const std::string& target,
                                          net::HttpHeaders headers, const std::string& body) {
  return Exchange(Client(), method, target, body, std::move(headers));
}

void ExpectError(const net::HttpResponse& response, int status, std::string_view words) {
  EXPECT_EQ(response.status, status) << response.body;
  EXPECT_EQ(Header(response, "Content-Type"), "application/json");
  const auto body = Json(response);
  ASSERT_TRUE(body.is_object()) << response.body;
  EXPECT_EQ(body.at("code").as_int64(), status);
  EXPECT_TRUE(std::string_view(body.at("message").as_string()).contains(words)) << response.body;
}

boost::json::value Json(const net::HttpResponse& response) {
  boost::system::error_code error;
  auto value = boost::json::parse(response.body, error);
  EXPECT_FALSE(error) << response.body;
  return value;
}

std::string Header(const net::HttpResponse& response, std::string_view name) {
  return std::string(net::FindHeader(response.headers, name).value_or(""));
}

}  // namespace tinderbox::api
