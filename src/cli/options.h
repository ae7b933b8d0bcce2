// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/error.h"

// The command line as values: one struct per command, filled by ParseArguments, acted on by Execute
// (commands.h). Nothing here does anything.
namespace tinderbox::cli {

using Pairs = std::vector<std::pair<std::string, std::string>>;  // KEY=VALUE, in order

struct GlobalOptions {
  std::string host;  // "" = TINDERBOX_HOST, else the daemon's unix socket
  bool json = false;
};

// What shapes one process and its streams; shared by run and exec.
struct ProcessOptions {
  bool interactive = false;
  bool tty = false;
  Pairs env;
  std::string workdir;
  std::string user;
  std::vector<std::string> command;  // empty = a login shell
};

// What shapes a new sandbox; shared by run and create.
struct SandboxOptions {
  std::string template_id = "base";
  std::optional<std::uint32_t> memory_mib;
  std::optional<std::uint32_t> cpus;
  std::optional<std::chrono::seconds> timeout;
  std::string name;  // kept as metadata "name"
  Pairs metadata;
  bool no_internet = false;
  Pairs volumes;           // name, path in the guest
  std::string on_timeout;  // "pause", "kill", "" = the daemon's default
  bool auto_resume = false;
  bool cold = false;
  bool timings = false;
};

struct RunOptions {
  SandboxOptions sandbox;
  ProcessOptions process;
  bool remove = false;
  std::string id_file;
};
struct CreateOptions {
  SandboxOptions sandbox;
  Pairs env;
};
struct ExecOptions {
  std::string sandbox;
  ProcessOptions process;
};
struct ListOptions {
  bool quiet = false;
  std::string state;
  Pairs metadata;
};
struct ProcessListOptions {
  std::string sandbox;
};
struct InspectOptions {
  std::vector<std::string> sandboxes;
};
struct RemoveOptions {
  std::vector<std::string> sandboxes;
  bool all = false;
  bool force = false;  // absence is success
};
struct TimeoutOptions {
  std::string sandbox;
  std::chrono::seconds timeout{};
};
struct CopyOptions {
  std::string from;
  std::string to;
  std::string user;
};
struct LogsOptions {
  std::string sandbox;
  bool follow = false;
  std::optional<std::uint64_t> bytes;
};
struct EventsOptions {
  std::string sandbox;  // "" = of all
  std::size_t count = 20;
};
struct PauseOptions {
  std::vector<std::string> sandboxes;
  bool disk_only = false;
  bool require_healthy = false;
};
struct ResumeOptions {
  std::string sandbox;
  std::optional<std::chrono::seconds> timeout;
  std::string on_timeout;  // as in SandboxOptions; "" = as it was
  bool reboot = false;
  bool timings = false;
};
struct ForkOptions {
  std::string sandbox;
  std::uint32_t count = 1;
  std::optional<std::chrono::seconds> timeout;
  bool timings = false;
};
struct SnapshotCreateOptions {
  std::string sandbox;
  std::string name;
  bool disk_only = false;
  std::string start;  // as in StartCommand (shell.h); "" = none
  std::string ready;
  std::chrono::seconds ready_time{600};
};
struct SnapshotListOptions {
  std::string sandbox;  // "" = of all
  bool quiet = false;
};
struct RollbackOptions {
  std::string sandbox;
  std::string snapshot;
  bool timings = false;
};
struct TemplatesOptions {
  bool quiet = false;
};
// Of templates and of snapshots.
struct TemplateRemoveOptions {
  std::vector<std::string> templates;
  bool force = false;  // absence is success
};
struct TemplateInspectOptions {
  std::vector<std::string> templates;
};
struct VerifyOptions {
  std::vector<std::string> templates;
};
struct PruneOptions {};
struct VolumeCreateOptions {
  std::string name;
};
struct VolumeListOptions {
  bool quiet = false;
};
struct VolumeRemoveOptions {
  std::vector<std::string> volumes;
  bool force = false;  // absence is success
};
struct RecoverListOptions {
  bool quiet = false;
};
struct RecoverAdoptOptions {
  std::string entry;
  std::string name;  // of a volume; "" = as it was
};
struct RecoverRemoveOptions {
  std::vector<std::string> entries;
  bool force = false;  // absence is success
};
struct SecretSetOptions {
  std::string name;
  std::string file = "-";  // that holds the value; "-" = standard input
  std::optional<Pairs> metadata;
};
struct SecretListOptions {
  bool quiet = false;
};
struct SecretRemoveOptions {
  std::vector<std::string> secrets;
  bool force = false;  // absence is success
};
struct KeyCreateOptions {
  std::string label = "unnamed";
  std::optional<std::chrono::seconds> expires;
};
struct KeyListOptions {
  bool quiet = false;
};
struct KeyRemoveOptions {
  std::vector<std::string> keys;  // ids
  bool force = false;             // absence is success
};
struct KeyRotateOptions {
  std::string key;                            // id
  std::optional<std::chrono::seconds> grace;  // for which the old one still works
};
struct InfoOptions {};
struct DoctorOptions {};
struct BenchOptions {
  std::string template_id = "base";
  std::uint32_t count = 10;
};
struct EnvOptions {
  bool fresh = false;  // make a new key even where one is cached
};
struct VersionOptions {};
struct CompletionOptions {
  std::string shell;
};

using Command = std::variant<
    RunOptions, CreateOptions, ExecOptions, ListOptions, ProcessListOptions, InspectOptions,
    RemoveOptions, TimeoutOptions, PauseOptions, ResumeOptions, ForkOptions, SnapshotCreateOptions,
    SnapshotListOptions, RollbackOptions, CopyOptions, LogsOptions, EventsOptions, TemplatesOptions,
    TemplateRemoveOptions, TemplateInspectOptions, VerifyOptions, PruneOptions, SecretSetOptions,
    SecretListOptions, SecretRemoveOptions, KeyCreateOptions, KeyListOptions, KeyRemoveOptions,
    KeyRotateOptions, VolumeCreateOptions, VolumeListOptions, VolumeRemoveOptions,
    RecoverListOptions, RecoverAdoptOptions, RecoverRemoveOptions, InfoOptions, DoctorOptions,
    BenchOptions, EnvOptions, VersionOptions, CompletionOptions>;

struct Invocation {
  GlobalOptions global;
  Command command;
};

// Something to print instead of running a command: help, or what is wrong with the arguments.
struct ParseStop {
  std::string text;
  int exit_code = 0;  // 0: to standard output, else to standard error
};

// `arguments` without the program's name. Does not read the environment.
std::variant<Invocation, ParseStop> ParseArguments(const std::vector<std::string>& arguments);

}  // namespace tinderbox::cli
