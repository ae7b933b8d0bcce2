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

#include "sandbox/background.h"
#include "sandbox/boots.h"
#include "sandbox/manager.h"
#include "sandbox/open.h"
#include "sandbox/sandbox.h"
#include "sandbox/storage_watch.h"
#include "sandbox/timings.h"
#include "sandbox/warm_pool.h"
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
  std::optional<PortAccess> Ports(std::string_view id) override;
  base::Result<> Kill(std::string_view id) override;
  base::Result<> SetTimeout(std::string_view id, std::chrono::seconds timeout) override;
  base::Result<SandboxInfo> Extend(std::string_view id, std::chrono::seconds timeout) override;
  base::Result<> SetNetwork(std::string_view id, const NetworkRules& rules) override;
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
  base::Result<std::vector<Event>> Events(const EventRequest& request) override;
  PoolSize Pool() override { return pool_.size(); }
  base::Result<sys::UniqueFd> Dial(std::string_view id, std::uint16_t port,
                                   base::Deadline deadline) override;
  base::Result<std::string> Console(std::string_view id, std::size_t max_bytes) override;
  base::Result<SandboxInfo> Adopt(const std::string& id, const Fetch& fetch) override;
  void OnGone(std::function<void(const std::string& id)> callback) override;
  std::vector<std::string> RecoveryReport() override { return recovery_report_; }

 private:
  using SandboxPtr = std::shared_ptr<Sandbox>;

  // manager.cc
  base::Result<SandboxPtr> Find(std::string_view id);
  // Find, and the right to change its state for as long as the lock is held. kNotFound where it was
  // removed while we waited for that.
  struct Locked {
    SandboxPtr sandbox;
    std::unique_lock<std::mutex> operation;
  };
  base::Result<Locked> Lock(std::string_view id);
  std::vector<SandboxPtr> All();
  SandboxInfo InfoOf(const Sandbox& sandbox) const;
  base::Result<store::SandboxRecord> RecordOf(const CreateRequest& request,
                                              const image::Template& source) const;
  base::Result<SandboxPtr> Admit(const store::SandboxRecord& record);
  base::Result<SandboxPtr> Insert(const store::SandboxRecord& record);
  base::Result<> Reserve(const store::SandboxRecord& record);
  void Forget(std::string_view id);
  // `why` in words, for its event.
  base::Result<> KillLocked(Sandbox& sandbox, std::string_view why);
  base::Result<> AbandonCreate(Sandbox& sandbox);
  base::Result<> ChangeEnd(std::string_view id, std::chrono::seconds timeout, bool may_shorten);
  base::Result<store::SandboxRecord> AwaitServing(std::string_view id);
  void TellGone(const std::string& id);

  // create.cc
  base::Result<SandboxPtr> AdmitPooled(store::SandboxRecord& record, const WarmVm& member,
                                       StageClock& clock);
  base::Result<> Begin(Sandbox& sandbox, const image::Template& source, bool cold,
                       StageClock& clock);
  base::Result<> BeginRestored(Sandbox& sandbox, const image::Template& saved, StageClock& clock);
  base::Result<SandboxInfo> Finish(const SandboxPtr& sandbox, const image::Template& source,
                                   std::chrono::seconds timeout, const StageClock& clock);
  base::Result<SandboxInfo> CreateFrom(const store::SandboxRecord& record,
                                       const image::Template& source, std::chrono::seconds timeout,
                                       bool cold, StageClock& clock);

  // volumes.cc
  void MountInBackground(const std::string& id);

  // storage.cc
  base::Result<> StartStorageWatch();
  void WatchStorage(const Sandbox& sandbox);
  bool NoteSpace(const std::string& id, bool no_space);
  base::Result<> CheckSpace(const Sandbox& sandbox) const;
  void LookAtDisks();
  void EndDamaged(Sandbox& sandbox, const std::string& why);

  // egress.cc
  base::Result<> TakeUpRules(Sandbox& sandbox);
  base::Result<> TrustAuthority(const store::SandboxRecord& record, const NetworkRules& rules);
  base::Result<> ApplyRules(Sandbox& sandbox, const NetworkRules& before);

  // pause.cc
  base::Result<> PauseLocked(Sandbox& sandbox, const PauseRequest& request);
  base::Result<> CommitPause(Sandbox& sandbox, const PauseRequest& request);
  base::Result<SandboxInfo> ResumeLocked(const SandboxPtr& sandbox, const ResumeRequest& request,
                                         const image::Template& saved);
  void EndPausedVm(Sandbox& sandbox);
  void SealInBackground(const image::Template& saved);

  // fork.cc
  base::Result<image::Template> CaptureRunning(Sandbox& sandbox, PauseMode mode,
                                               image::Template info);
  base::Result<image::Template> CaptureAs(Sandbox& sandbox, PauseMode mode, image::Template info);
  base::Result<> TakeName(const std::string& name, const std::string& new_owner);

  // templates.cc
  TemplateInfo Describe(const image::Template& source);
  std::uint32_t SandboxesOf(std::string_view template_id);

  // adopt.cc
  base::Result<SandboxInfo> TakeUpLost(const std::string& id);

  // recovery.cc
  base::Result<> Recover();
  void RecoverOne(store::SandboxRecord record);
  void RecoverPausing(const SandboxPtr& sandbox);
  void RecoverPaused(const SandboxPtr& sandbox);
  void RecoverRunning(const SandboxPtr& sandbox);
  void Report(std::string line);
  bool RecordAsPaused(const SandboxPtr& sandbox);
  bool TakeUp(const SandboxPtr& sandbox);
  void TakeUpNetwork(const SandboxPtr& sandbox);
  void Lose(const SandboxPtr& sandbox, const std::string& why);

  // sweep.cc
  void SweepOrphans();
  void SweepVms(const std::string& run_dir);
  void SweepDisks();

  // reaper.cc
  base::Result<> StartReaper();
  void RunReaper();
  void Watch(const SandboxPtr& sandbox);
  void Wake();
  void BuryIfEnded(const SandboxPtr& sandbox);
  void ExpireOverdue();
  void Expire(const SandboxPtr& sandbox);
  int MillisecondsToNextExpiry();
  void PruneEvents();

  const ManagerOptions options_;
  Boots boots_{options_, [this](const image::Template& saved) { SealInBackground(saved); }};
  WarmPool pool_{options_, boots_};
  std::mutex mutex_;  // guards sandboxes_; never held while anything blocks
  std::map<std::string, SandboxPtr, std::less<>> sandboxes_;
  std::mutex gone_mutex_;
  std::function<void(const std::string& id)> gone_;
  std::vector<std::string> recovery_report_;
  std::mutex names_mutex_;  // one snapshot takes a name at a time
  std::mutex adopt_mutex_;  // one lost sandbox is taken up at a time

  sys::UniqueFd epoll_;
  sys::UniqueFd wake_;  // eventfd: the next expiry has changed, or it is time to stop
  std::atomic<bool> stopping_ = false;
  std::chrono::steady_clock::time_point events_pruned_{};  // the reaper's own
  Background background_{8};
  std::unique_ptr<StorageWatch> storage_;
  std::thread reaper_;  // last: it uses all the others
};

}  // namespace tinderbox::sandbox
