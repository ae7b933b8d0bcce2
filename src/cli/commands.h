// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/error.h"
#include "cli/options.h"
#include "cli/session.h"

// One function per command: does what the options say, prints the result, and yields the exit
// status. An error is printed by main, with status 125 for run and exec, else 1.
namespace tinderbox::cli {

// run.cc
base::Result<int> Execute(Session& session, const RunOptions& options);
base::Result<int> Execute(Session& session, const ExecOptions& options);
// sandboxes.cc
base::Result<int> Execute(Session& session, const CreateOptions& options);
base::Result<int> Execute(Session& session, const ListOptions& options);
base::Result<int> Execute(Session& session, const ProcessListOptions& options);
base::Result<int> Execute(Session& session, const InspectOptions& options);
base::Result<int> Execute(Session& session, const RemoveOptions& options);
base::Result<int> Execute(Session& session, const TimeoutOptions& options);
// states.cc
base::Result<int> Execute(Session& session, const PauseOptions& options);
base::Result<int> Execute(Session& session, const ResumeOptions& options);
base::Result<int> Execute(Session& session, const ForkOptions& options);
base::Result<int> Execute(Session& session, const RollbackOptions& options);
// templates.cc
base::Result<int> Execute(Session& session, const SnapshotCreateOptions& options);
base::Result<int> Execute(Session& session, const SnapshotListOptions& options);
base::Result<int> Execute(Session& session, const TemplatesOptions& options);
base::Result<int> Execute(Session& session, const TemplateRemoveOptions& options);
base::Result<int> Execute(Session& session, const TemplateInspectOptions& options);
base::Result<int> Execute(Session& session, const VerifyOptions& options);
base::Result<int> Execute(Session& session, const PruneOptions& options);
// volumes.cc
base::Result<int> Execute(Session& session, const VolumeCreateOptions& options);
base::Result<int> Execute(Session& session, const VolumeListOptions& options);
base::Result<int> Execute(Session& session, const VolumeRemoveOptions& options);
// recover.cc
base::Result<int> Execute(Session& session, const RecoverListOptions& options);
base::Result<int> Execute(Session& session, const RecoverAdoptOptions& options);
base::Result<int> Execute(Session& session, const RecoverRemoveOptions& options);
// secrets.cc
base::Result<int> Execute(Session& session, const SecretSetOptions& options);
base::Result<int> Execute(Session& session, const SecretListOptions& options);
base::Result<int> Execute(Session& session, const SecretRemoveOptions& options);
// keys.cc
base::Result<int> Execute(Session& session, const KeyCreateOptions& options);
base::Result<int> Execute(Session& session, const KeyListOptions& options);
base::Result<int> Execute(Session& session, const KeyRemoveOptions& options);
base::Result<int> Execute(Session& session, const KeyRotateOptions& options);
// copy.cc
base::Result<int> Execute(Session& session, const CopyOptions& options);
// events.cc
base::Result<int> Execute(Session& session, const EventsOptions& options);
// logs.cc
base::Result<int> Execute(Session& session, const LogsOptions& options);
// host.cc
base::Result<int> Execute(Session& session, const InfoOptions& options);
base::Result<int> Execute(Session& session, const DoctorOptions& options);
// bench.cc
base::Result<int> Execute(Session& session, const BenchOptions& options);
base::Result<int> Execute(Session& session, const VersionOptions& options);
// env.cc
base::Result<int> Execute(Session& session, const EnvOptions& options);
// completion.cc
base::Result<int> Execute(Session& session, const CompletionOptions& options);

}  // namespace tinderbox::cli
