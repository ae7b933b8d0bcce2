// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "rivals.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <vector>

#include "base/id.h"
#include "sys/file.h"
#include "sys/message.h"
#include "vmm/launcher.h"

namespace tinderbox::bench {

using base::Code;
using base::Deadline;
using base::Fail;
using base::FailErrno;
using base::Result;
using std::chrono::seconds;

namespace {

constexpr uid_t kUid = 1900000001;
constexpr char kRequest[] = "GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n";

double NowUs() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

// The time that the no-op VMM printed.
Result<double> ParseMoment(const std::string& text) {
  long long ns = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), ns).ec != std::errc()) {
    return Fail(Code::kInternal, fmt::format("the VMM printed '{}'", text));
  }
  return static_cast<double>(ns) / 1e3;
}

vmm::LaunchSpec MakeSpec(const Setting& setting, const std::string& program) {
  vmm::LaunchSpec spec;
  spec.id = "b" + base::RandomHex(6);
  spec.run_dir = setting.directory + "/" + spec.id;
  spec.warden = TINDERBOX_WARDEN;
  spec.vmm = program;
  spec.argv = {"vmm"};
  spec.binds = {{setting.directory + "/kernel", vmm::kJailKernel, true},
                {setting.directory + "/rootfs", vmm::kJailRootfs, false}};
  spec.netns = "/run/netns/" + setting.netns;
  spec.uid = kUid;
  spec.gid = kUid;
  spec.kvm = true;
  spec.tun = true;
  return spec;
}

void UseCgroup(vmm::LaunchSpec* spec) {
  spec->cgroup = "tinderbox-bench-" + spec->id;
  spec->limits = {.memory_bytes = 512 << 20, .cpus = 1, .pids = 64};
}

Result<> AskVersion(sys::FdRef api) {
  TRY(sys::WriteAll(api, std::string_view(kRequest)));
  char byte = 0;
  if (::read(api.get(), &byte, 1) != 1) return Fail(Code::kUnavailable, "no answer of the API");
  return {};
}

// The chain of programs, up to `last`, which runs in the new namespaces with /work-like tmpfs at
// `directory`/work and links of fixed names in it.
std::vector<std::string> Chain(const Setting& setting, const std::string& last) {
  const std::string work = setting.directory + "/work";
  return {"/usr/bin/unshare", "-m", "/bin/bash", "-c",
          fmt::format("mount --make-rprivate / && mount -t tmpfs tmpfs {0} && "
                      "ln -s {1}/kernel {0}/vmlinux && ln -s {1}/rootfs {0}/rootfs.ext4 && "
                      "exec ip netns exec {2} {3}",
                      work, setting.directory, setting.netns, last)};
}

struct Chained {
  pid_t pid;
  sys::UniqueFd output;
};

Result<Chained> StartChain(std::vector<std::string> words) {
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return FailErrno(errno, "pipe");
  Chained chained{0, sys::UniqueFd(ends[0])};
  const sys::UniqueFd theirs(ends[1]);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, theirs.get(), 1);
  const int err = ::posix_spawn(&chained.pid, argv[0], &actions, nullptr, argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (err != 0) return FailErrno(err, "start the shell chain");
  return chained;
}

}  // namespace

Result<double> LaunchNoop(const Setting& setting, bool with_cgroup,
                          std::vector<vmm::StepTiming>* steps) {
  auto spec = MakeSpec(setting, TINDERBOX_NOOP_VMM);
  if (with_cgroup) UseCgroup(&spec);
  const double began = NowUs();
  const auto launched = TRY(vmm::Launch(spec, Deadline::After(seconds(10))));
  if (steps != nullptr) *steps = launched.report.timings;
  TRY(launched.vm->Wait(Deadline::After(seconds(10))));
  const auto printed = TRY(launched.vm->ConsoleTail(100));
  TRY(vmm::Remove(spec.run_dir));
  return TRY(ParseMoment(printed)) - began;
}

Result<double> ChainNoop(const Setting& setting) {
  const auto words = Chain(setting, TINDERBOX_NOOP_VMM);
  const double began = NowUs();
  const auto chained = TRY(StartChain(words));
  const auto printed = TRY(sys::ReadAll(chained.output, 100));
  ::waitpid(chained.pid, nullptr, 0);
  return TRY(ParseMoment(printed)) - began;
}

Result<double> LaunchFirecracker(const Setting& setting, bool with_cgroup) {
  auto spec = MakeSpec(setting, setting.firecracker);
  if (with_cgroup) UseCgroup(&spec);
  spec.argv = {"firecracker", "--id", spec.id, "--api-sock", vmm::kJailApiSocket};
  const double began = NowUs();
  const auto launched = TRY(vmm::Launch(spec, Deadline::After(seconds(10))));
  const auto api = TRY(launched.vm->ConnectApi(Deadline::After(seconds(10))));
  TRY(AskVersion(api));
  const double took = NowUs() - began;
  TRY(launched.vm->Kill());
  TRY(vmm::Remove(spec.run_dir));
  return took;
}

Result<double> ChainFirecracker(const Setting& setting) {
  const std::string socket = setting.directory + "/chain.sock";
  TRY(sys::RemoveFile(socket));
  const auto words = Chain(setting, fmt::format("{} --api-sock {}", setting.firecracker, socket));
  const double began = NowUs();
  const auto chained = TRY(StartChain(words));
  const auto deadline = Deadline::After(seconds(10));
  Result<> asked = Fail(Code::kUnavailable, "the API never answered");
  // Asked as often as the launcher does, so that only the way to the VMM differs.
  while (!deadline.passed()) {
    if (const auto file = sys::Open(socket, O_PATH | O_NOFOLLOW)) {
      if (const auto api = sys::ConnectUnixFd(*file)) {
        asked = AskVersion(*api);
        break;
      }
    }
    ::usleep(500);
  }
  const double took = NowUs() - began;
  ::kill(chained.pid, SIGKILL);  // every program of the chain has exec'ed the next
  ::waitpid(chained.pid, nullptr, 0);
  TRY(std::move(asked));
  return took;
}

}  // namespace tinderbox::bench
