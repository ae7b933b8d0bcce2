// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/error.h"
#include "sys/cgroup.h"
#include "sys/fd.h"
#include "sys/spawn.h"
#include "vmm/launcher.h"
#include "warden/protocol.h"

namespace tinderbox::vmm {

// One launch: the launcher's own steps, then the warden's, each with its undo. Used once.
//
// The steps have a logical order, that of LaunchStepNames(). In time, launcher and warden work side
// by side: the warden's program is being started (clone) while the launcher opens what the plan
// needs (binds, netns), and the warden builds the jail while the launcher makes cgroup, console and
// control socket; the warden joins the cgroup when the jail is done, before there is a VMM. On two
// CPUs that saves a third of the launch. Only a cgroup of version 2 comes before the clone, because
// the warden is born in it.
class LaunchSequence {
 public:
  LaunchSequence(const LaunchSpec& spec, base::Deadline deadline, const LaunchOptions& options);
  // What is not committed by now is undone.
  ~LaunchSequence();
  LaunchSequence(const LaunchSequence&) = delete;
  LaunchSequence& operator=(const LaunchSequence&) = delete;

  base::Result<Launched> Run();

 private:
  using Step = warden::Step;

  base::Result<> MakeRunDir();
  // The record's first form: even if this process dies now, Remove() finds out what belongs to it.
  base::Result<> NoteIntent();
  base::Result<> OpenConsole();
  base::Result<> MakeCgroup();
  // The binds' mounts and the network namespace, opened before there is a child that could fail.
  base::Result<> OpenHostObjects();
  base::Result<> StartWarden();
  base::Result<> SendPlan();
  // Hands over the files to join the cgroup by; the warden takes them when its mounts are done.
  void SendCgroup();
  // Waits until the warden's program has taken over from the clone.
  base::Result<> ConfirmWarden();
  base::Result<> AwaitReport();
  // Notes the VM down, links its API socket, and tells the warden that it may live.
  base::Result<Launched> Commit();

  base::Result<> TakeOverRunDir();
  std::size_t CountJoinFiles() const;
  LaunchReport MakeReport() const;

  // Runs a step of the launcher's own: timed, named in its error, and failed on a test's demand
  // after it has done its work, so that the undo has something to undo.
  template <typename Work>
  base::Result<> Do(Step step, Work work);
  std::unexpected<base::Error> StepError(Step step, base::Error error) const;

  const LaunchSpec& spec_;
  const base::Deadline deadline_;
  const LaunchOptions& options_;
  std::array<std::chrono::nanoseconds, warden::kStepCount> took_{};

  bool committed_ = false;
  bool owns_run_dir_ = false;
  sys::UniqueFd run_dir_;
  sys::UniqueFd console_;
  sys::UniqueFd exit_file_;
  sys::UniqueFd control_;
  sys::UniqueFd netns_;
  std::optional<sys::Cgroup> cgroup_;
  std::vector<JailBind> binds_;
  std::vector<sys::UniqueFd> bind_mounts_;
  std::vector<bool> bind_is_directory_;
  std::uint64_t writable_bytes_ = 0;  // of the largest file that is bound writable
  sys::UniqueFd socket_;
  base::Result<> sent_;  // whether all that the warden was told has reached it
  std::unique_ptr<sys::PendingSpawn> pending_;
  sys::Child child_;  // without a pidfd until there is one
  pid_t vmm_pid_ = 0;
};

}  // namespace tinderbox::vmm
