// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "sandbox/manager.h"
#include "sandbox/open.h"
#include "sandbox/sandbox.h"
#include "sys/fd.h"

namespace tinderbox::sandbox {

class ManagerImpl final : public Manager {
 public:
  explicit ManagerImpl(const ManagerOptions& options);
  ~ManagerImpl() override;

  // Recovery (recovery.cc), then the reaper's thread (reaper.cc). Called once.
  base::Result<> Start();

  base::Result<SandboxInfo> Create(const CreateRequest& request) override;
  base::Result<SandboxInfo> Get(std::string_view id) override;
  std::vector<SandboxInfo> List() override;
  base::Result<> Kill(std::string_view id) override;
  base::Result<> SetTimeout(std::string_view id, std::chrono::seconds timeout) override;
  base::Result<SandboxInfo> Extend(std::string_view id, std::chrono::seconds timeout) override;
  base::Result<> Pause(std::string_view id, const PauseRequest& request) override;
  base::Result<SandboxInfo> Resume(std::string_view id, const ResumeRequest& request) override;
  base::Result<Connected> Connect(std::string_view id, const ResumeRequest& request) override;
  base::Result<std::vector<base::Result<SandboxInfo>>> Fork(std::string_view id,
                                                            const ForkRequest& request) override;
  base::Result<TemplateInfo> Snapshot(std::string_view id, const SnapshotOptions& options) override;
  base::Result<SandboxInfo> Rollback(std::string_view id, std::string_view snapshot) override;
  base::Result<std::vector<TemplateInfo>> Templates() override;
  base::Result<TemplateInfo> GetTemplate(std::string_view id_or_name) override;
  base::Result<> RemoveTemplate(std::string_view id_or_name) override;
  base::Result<> Verify(std::string_view id_or_name) override;
  base::Result<Pruned> Prune() override;
  base::Result<sys::UniqueFd> Dial(std::string_view id, std::uint16_t port,
                                   base::Deadline deadline) override;
  base::Result<std::string> Console(std::string_view id, std::size_t max_bytes) override;
  void OnGone(std::function<void(const std::string& id)> callback) override;
  std::vector<std::string> RecoveryReport() override { return recovery_report_; }

 private:
  using SandboxPtr = std::shared_ptr<Sandbox>;

  // manager.cc
  base::Result<SandboxPtr> Find(std::string_view id);
  std::vector<SandboxPtr> All();
  SandboxInfo InfoOf(const Sandbox& sandbox) const;
  base::Result<SandboxPtr> Admit(const CreateRequest& request, const image::Template& source);
  void Forget(std::string_view id);
  base::Result<> KillLocked(Sandbox& sandbox);
  base::Result<> AbandonCreate(Sandbox& sandbox);
  base::Result<> ChangeEnd(std::string_view id, std::chrono::seconds timeout, bool may_shorten);
  void TellGone(const std::string& id);

  // recovery.cc
  base::Result<> Recover();
  void RecoverOne(store::SandboxRecord record);
  bool TakeUp(const SandboxPtr& sandbox);
  void SweepOrphans();
  void Report(std::string line);

  // reaper.cc
  base::Result<> StartReaper();
  void RunReaper();
  void Watch(const SandboxPtr& sandbox);
  void Wake();
  void BuryIfEnded(const SandboxPtr& sandbox);
  void ExpireOverdue();
  int MillisecondsToNextExpiry();

  const ManagerOptions options_;
  std::mutex mutex_;  // guards sandboxes_; never held while anything blocks
  std::map<std::string, SandboxPtr, std::less<>> sandboxes_;
  std::mutex gone_mutex_;
  std::function<void(const std::string& id)> gone_;
  std::vector<std::string> recovery_report_;

  sys::UniqueFd epoll_;
  sys::UniqueFd wake_;  // eventfd: the next expiry has changed, or it is time to stop
  std::atomic<bool> stopping_ = false;
  std::thread reaper_;  // last: it uses all the others
};

}  // namespace tinderbox::sandbox
