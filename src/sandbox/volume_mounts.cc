// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/volume_mounts.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <optional>
#include <string_view>

#include "base/log.h"
#include "net/upgrade.h"
#include "sandbox/agent_link.h"

namespace tinderbox::sandbox {

using base::Code;
using base::Deadline;
using base::Fail;
using base::Result;

namespace {

constexpr int kTold = 3;

std::string Escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '/' || c == '-' || c == '_' || c == '.';
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

}  // namespace

VolumeMounts::VolumeMounts(Options options)
    : options_(std::move(options)), wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  thread_ = std::thread([this] { Run(); });
}

VolumeMounts::~VolumeMounts() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  Wake();
  thread_.join();
}

void VolumeMounts::Wake() { static_cast<void>(::eventfd_write(wake_.get(), 1)); }

Result<> VolumeMounts::CheckThatTheyExist(const MountMap& mounts) const {
  for (const auto& [path, name] : mounts) {
    const auto found = options_.volumes.FindByName(name);
    if (found) continue;
    if (found.error().code() != Code::kNotFound) return std::unexpected(found.error());
    // Not kNotFound, which of a request for a sandbox means its template.
    return std::unexpected(base::Error(Code::kInvalidArgument, found.error().message())
                               .WithRemedy("Make it first: POST /volumes."));
  }
  return {};
}

// Servers are started by the one thread that outlives them all (PR_SET_PDEATHSIG is about threads).
void VolumeMounts::OnThread(std::function<void()> work) {
  std::promise<void> done;
  {
    const std::lock_guard lock(mutex_);
    work_.emplace_back([&] {
      work();
      done.set_value();
    });
  }
  Wake();
  done.get_future().wait();
}

Result<std::unique_ptr<volume::ServerProcess>> VolumeMounts::MountOne(
    const store::SandboxRecord& record, const std::string& cgroup, const std::string& path,
    const std::string& name, Deadline deadline) {
  const volume::Volume volume = TRY(options_.volumes.FindByName(name));
  sys::UniqueFd connection = TRY(options_.slots.Dial(record.slot, kAgentPort, deadline));
  const std::string request = fmt::format(
      "POST /volume?path={}&name={} HTTP/1.1\r\nHost: agent\r\nConnection: Upgrade\r\n"
      "Upgrade: fuse\r\nX-Access-Token: {}\r\nContent-Length: 0\r\n\r\n",
      Escaped(path), Escaped(name), record.access_token);
  TRY(net::RequestUpgrade(connection, request, deadline));
  const int on = 1;
  static_cast<void>(::setsockopt(connection.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
  volume::ServerProcess::Options options{.program = options_.program,
                                         .connection = std::move(connection),
                                         .directory = options_.volumes.DirectoryOf(volume.id),
                                         .reserve_bytes = options_.reserve_bytes,
                                         .usage = TRY(options_.volumes.UsageOf(volume.id)),
                                         .cgroup = cgroup};
  std::optional<Result<volume::ServerProcess>> started;
  const auto start = [&] { started.emplace(volume::ServerProcess::Start(std::move(options))); };
  OnThread(start);
  if (!*started) return std::unexpected(std::move(*started).error());
  auto server = std::make_unique<volume::ServerProcess>(*std::move(*started));
  TRY(server->AwaitReady(deadline));
  return server;
}

Result<> VolumeMounts::Mount(const store::SandboxRecord& record, const std::string& cgroup,
                             Deadline deadline) {
  EndServers(record.id);
  for (const auto& [path, name] : record.volume_mounts) {
    auto server = MountOne(record, cgroup, path, name, deadline);
    if (!server) {
      EndServers(record.id);
      return std::unexpected(std::move(server).error().WithContext(
          fmt::format("mount volume '{}' at '{}'", name, path)));
    }
    {
      const std::lock_guard lock(mutex_);
      entries_.push_back(
          {.sandbox = record.id, .path = path, .name = name, .server = *std::move(server)});
    }
    Wake();
  }
  return {};
}

void VolumeMounts::EndServers(const std::string& sandbox_id) {
  // They end outside of the lock: that waits.
  std::list<Entry> gone;
  const std::lock_guard lock(mutex_);
  for (auto at = entries_.begin(); at != entries_.end();) {
    const auto next = std::next(at);
    if (at->sandbox == sandbox_id) gone.splice(gone.end(), entries_, at);
    at = next;
  }
}

void VolumeMounts::Release(const std::string& sandbox_id) {
  EndServers(sandbox_id);
  const std::lock_guard lock(mutex_);
  told_.erase(sandbox_id);
}

void VolumeMounts::OnEnded(std::function<void(const std::string&)> callback) {
  const std::lock_guard lock(mutex_);
  on_ended_ = std::move(callback);
}

std::vector<VolumeMounts::Entry> VolumeMounts::TakeEnded() {
  std::vector<Entry> ended;
  const std::lock_guard lock(mutex_);
  for (auto at = entries_.begin(); at != entries_.end();) {
    const auto next = std::next(at);
    if (at->server->ended()) {
      ended.push_back(std::move(*at));
      entries_.erase(at);
    }
    at = next;
  }
  return ended;
}

void VolumeMounts::Tell(const Entry& ended) {
  base::LogWarning("the server of a mounted volume has ended",
                   {{"sandbox", ended.sandbox}, {"path", ended.path}, {"volume", ended.name}});
  const std::lock_guard lock(mutex_);
  if (++told_[ended.sandbox] <= kTold && on_ended_) on_ended_(ended.sandbox);
}

void VolumeMounts::Run() {
  for (;;) {
    std::vector<pollfd> waited = {{wake_.get(), POLLIN, 0}};
    std::list<std::function<void()>> work;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) {
        entries_.clear();
        return;
      }
      work.swap(work_);
      for (const Entry& entry : entries_) {
        waited.push_back({entry.server->pidfd().get(), POLLIN, 0});
      }
    }
    if (!work.empty()) {
      for (const auto& each : work) each();
      continue;
    }
    if (::poll(waited.data(), waited.size(), -1) < 0) continue;
    if (waited[0].revents != 0) {
      eventfd_t count = 0;
      static_cast<void>(::eventfd_read(wake_.get(), &count));
    }
    for (const Entry& entry : TakeEnded()) Tell(entry);
  }
}

}  // namespace tinderbox::sandbox
