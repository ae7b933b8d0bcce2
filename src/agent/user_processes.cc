// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/user_processes.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <vector>

#include "agent/reseed.h"
#include "base/log.h"
#include "sys/file.h"

namespace tinderbox::agent {
namespace {

constexpr char kName[] = "sandbox";
// Each pass finds what was made during the one before, by processes that are frozen since.
constexpr int kPasses = 100;
constexpr std::chrono::milliseconds kSettle{2000};
constexpr std::size_t kMaxProcs = 4 << 20;

base::Result<std::string> ReadAt(const sys::UniqueFd& dir, const std::string& name) {
  const sys::UniqueFd file = TRY(sys::OpenAt(dir, name, O_RDONLY | O_CLOEXEC));
  return sys::ReadAll(file, kMaxProcs);
}

// 0, or the error's number.
int WriteAt(sys::FdRef dir, const std::string& name, std::string_view text) {
  const sys::UniqueFd file(::openat(dir.get(), name.c_str(), O_WRONLY | O_CLOEXEC));
  if (!file) return errno;
  return ::write(file.get(), text.data(), text.size()) < 0 ? errno : 0;
}

// A cgroup that was removed meanwhile.
bool Gone(int error) { return error == ENOENT || error == ENODEV; }

base::Result<std::vector<std::string>> DirectoriesIn(const sys::UniqueFd& dir) {
  sys::UniqueFd copy = TRY(sys::OpenAt(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  DIR* stream = ::fdopendir(copy.get());
  if (stream == nullptr) return base::FailErrno(errno, "list cgroups");
  (void)copy.Release();
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(stream)) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  ::closedir(stream);
  return names;
}

std::vector<pid_t> ParsePids(std::string_view text) {
  std::vector<pid_t> pids;
  while (!text.empty()) {
    pid_t pid = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), pid);
    if (ec == std::errc() && pid > 0) pids.push_back(pid);
    text.remove_prefix(std::min(text.find('\n'), text.size() - 1) + 1);
  }
  return pids;
}

}  // namespace

base::Result<std::unique_ptr<UserProcesses>> UserProcesses::Open() {
  // A detached mount of our own: no process of the guest can unmount or hide it.
  const sys::UniqueFd context(::fsopen("cgroup2", FSOPEN_CLOEXEC));
  if (!context || ::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return base::FailErrno(errno, "open the cgroups of version 2");
  }
  sys::UniqueFd root(::fsmount(context.get(), FSMOUNT_CLOEXEC, 0));
  if (!root) return base::FailErrno(errno, "mount the cgroups of version 2");
  return std::make_unique<UserProcesses>(std::move(root));
}

UserProcesses::UserProcesses(sys::UniqueFd root) : root_(std::move(root)) {
  if (const auto made = MakeCgroup(); !made) base::LogWarning(made.error().ToString());
}

base::Result<> UserProcesses::MakeCgroup() {
  cgroup_.Reset();
  if (::mkdirat(root_.get(), kName, 0755) != 0 && errno != EEXIST) {
    return base::FailErrno(errno, fmt::format("make cgroup '{}'", kName));
  }
  cgroup_ = TRY(sys::OpenAt(root_, kName, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return {};
}

base::Result<> UserProcesses::Stop() {
  frozen_.clear();
  foreign_.clear();
  auto stopped = StopAll();
  if (!stopped) (void)GoOn();
  return stopped;
}

base::Result<> UserProcesses::StopAll() {
  // Anew each time: the guest may have removed it while it was empty.
  TRY(MakeCgroup());
  bool found = true;
  for (int pass = 0; found; ++pass) {
    if (pass == kPasses) {
      return base::Fail(base::Code::kResourceExhausted,
                        "freeze: new processes appear faster than they can be frozen");
    }
    // First, because the agent itself may be in one of the cgroups.
    found = TRY(Sweep());
    found = TRY(FreezeCgroups()) || found;
  }
  const auto deadline = base::Deadline::After(kSettle);
  for (const std::string& name : frozen_) AwaitFrozen(name, deadline);
  return {};
}

// Whether there were some that are new.
base::Result<bool> UserProcesses::FreezeCgroups() {
  bool found = false;
  for (const std::string& name : TRY(DirectoriesIn(root_))) {
    if (frozen_.contains(name) || foreign_.contains(name)) continue;
    const std::string file = name + "/cgroup.freeze";
    const auto present = ReadAt(root_, file);
    if (present && present->starts_with('1')) {
      foreign_.insert(name);
      continue;
    }
    const int error = WriteAt(root_, file, "1");
    if (Gone(error)) continue;
    if (error != 0) return base::FailErrno(error, fmt::format("freeze cgroup '{}'", name));
    frozen_.insert(name);
    found = true;
  }
  return found;
}

// Moves what is in the root but does not belong there. Whether there was any.
base::Result<bool> UserProcesses::Sweep() {
  const pid_t own = ::getpid();
  const std::vector<pid_t> pids = ParsePids(TRY(ReadAt(root_, "cgroup.procs")));
  bool found = false;
  // Programs that set up cgroups for themselves move all of the root's processes, us included. A
  // frozen agent would never thaw anything.
  if (std::ranges::find(pids, own) == pids.end()) {
    const int error = WriteAt(root_, "cgroup.procs", "0");
    if (error != 0) return base::FailErrno(error, "freeze: move the agent to the root cgroup");
    found = true;
  }
  for (const pid_t pid : pids) {
    // The kernel's own threads have no process group.
    if (pid == own || ::getpgid(pid) <= 0) continue;
    const int error = WriteAt(cgroup_, "cgroup.procs", std::to_string(pid));
    if (error == 0) found = true;
    if (error != 0 && error != ESRCH) {
      base::LogWarning(
          "freeze: " +
          base::Error::FromErrno(error, fmt::format("move process {}", pid)).ToString());
    }
  }
  return found;
}

void UserProcesses::AwaitFrozen(const std::string& name, base::Deadline deadline) const {
  const sys::UniqueFd events(
      ::openat(root_.get(), (name + "/cgroup.events").c_str(), O_RDONLY | O_CLOEXEC));
  while (events) {
    char text[256];
    const ssize_t n = ::pread(events.get(), text, sizeof text, 0);
    if (n <= 0) return;  // removed
    if (std::string_view(text, static_cast<std::size_t>(n)).contains("frozen 1")) return;
    if (deadline.passed()) {
      base::LogWarning("freeze: processes wait in the kernel; they stop before they run again",
                       {{"cgroup", name}});
      return;
    }
    // The kernel reports a change since the read as POLLPRI.
    pollfd change{events.get(), POLLPRI, 0};
    ::poll(&change, 1, deadline.poll_timeout());
  }
}

base::Result<> UserProcesses::GoOn() {
  base::Result<> result;
  for (const std::string& name : frozen_) {
    const int error = WriteAt(root_, name + "/cgroup.freeze", "0");
    if (error == 0 || Gone(error)) continue;
    result = base::FailErrno(error, fmt::format("thaw cgroup '{}'", name));
  }
  frozen_.clear();
  return result;
}

base::Result<> UserProcesses::PrepareOwnThaw() { return ReseedFromCpu(); }

}  // namespace tinderbox::agent
