// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/launched_vm.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "sys/cgroup.h"
#include "sys/file.h"
#include "sys/message.h"
#include "sys/pidfd.h"
#include "warden/protocol.h"

namespace tinderbox::vmm {

using base::Code;
using base::Deadline;
using base::Fail;
using base::FailErrno;
using base::Result;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

// How long the warden is given beyond the grace before its whole namespace is killed over its head.
constexpr milliseconds kWardenSlack{2500};
constexpr milliseconds kKillTime{2500};
constexpr std::size_t kErrorConsoleBytes = 2048;

std::string Describe(const ExitStatus& status) {
  if (status.stopped_by == "warden") return "its warden was killed";
  return status.signalled ? fmt::format("signal {}", status.code)
                          : fmt::format("exit code {}", status.code);
}

// The last `max` bytes of the file `name`; empty where there is none.
std::string FileTail(const std::string& path, std::size_t max) {
  const auto fd = sys::Open(path, O_RDONLY | O_NOFOLLOW);
  struct stat st{};
  if (!fd || ::fstat(fd->get(), &st) != 0) return {};
  const auto size = static_cast<std::size_t>(st.st_size);
  std::string text(std::min(size, max), '\0');
  const ssize_t n =
      ::pread(fd->get(), text.data(), text.size(), static_cast<off_t>(size - text.size()));
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return text;
}

class LaunchedVmImpl final : public LaunchedVm {
 public:
  LaunchedVmImpl(std::string run_dir, VmRecord record, sys::UniqueFd pidfd, sys::UniqueFd exit_file,
                 std::optional<LaunchReport> report)
      : run_dir_(std::move(run_dir)),
        record_(std::move(record)),
        pidfd_(std::move(pidfd)),
        exit_file_(std::move(exit_file)),
        report_(std::move(report)) {}
  // No zombie stays where this handle saw the end of it.
  ~LaunchedVmImpl() override { sys::ReapPidFd(pidfd_); }

  const std::string& id() const override { return record_.id; }
  const std::string& run_dir() const override { return run_dir_; }
  pid_t warden_pid() const override { return record_.warden_pid; }
  pid_t vmm_pid() const override { return record_.vmm_pid; }
  sys::FdRef pidfd() const override { return pidfd_; }

  Result<sys::UniqueFd> ConnectApi(Deadline deadline) override;
  const LaunchReport* report() const override { return report_ ? &*report_ : nullptr; }
  Result<ExitStatus> Wait(Deadline deadline) override;
  Result<ExitStatus> Stop(std::optional<milliseconds> grace) override;
  Result<ExitStatus> Kill() override;
  Result<std::string> ConsoleTail(std::size_t max) override;

 private:
  // Asks the warden over its control socket.
  Result<> Command(const std::string& line);

  const std::string run_dir_;
  const VmRecord record_;
  const sys::UniqueFd pidfd_;
  // Held open, so that a waiter learns the status even if another one has removed the directory.
  const sys::UniqueFd exit_file_;
  const std::optional<LaunchReport> report_;
};

Result<sys::UniqueFd> LaunchedVmImpl::ConnectApi(Deadline deadline) {
  auto connection = ConnectInJail(pidfd_, record_.warden_pid, kJailApiSocket, deadline);
  if (connection || connection.error().code() != Code::kUnavailable) return connection;
  // Ended before it answered. Why, stands in its last words.
  std::string why;
  if (const auto status = Wait(Deadline::After(seconds(1)))) why = Describe(*status);
  std::string words = ConsoleTail(kErrorConsoleBytes).value_or("");
  while (!words.empty() && words.back() == '\n') words.pop_back();
  return Fail(Code::kUnavailable,
              fmt::format("connect to the VMM of '{}': it ended first ({}){}{}", record_.id, why,
                          words.empty() ? "" : "; its last words: ", words));
}

Result<ExitStatus> LaunchedVmImpl::Wait(Deadline deadline) {
  if (!TRY(sys::WaitPidFd(pidfd_, deadline))) {
    return Fail(Code::kDeadlineExceeded,
                fmt::format("wait for VM '{}': it still runs", record_.id));
  }
  sys::ReapPidFd(pidfd_);
  if (const auto status = TRY(ReadExitStatus(exit_file_))) return *status;
  return ExitStatus{true, SIGKILL, "warden"};
}

Result<> LaunchedVmImpl::Command(const std::string& line) {
  const auto path = fmt::format("{}/{}", run_dir_, warden::kControlSocket);
  const auto file = TRY(sys::Open(path, O_PATH | O_NOFOLLOW));
  const auto connection = TRY_CTX(sys::ConnectUnixFd(file), "connect to the warden");
  TRY_CTX(sys::WriteAll(connection, line), "speak to the warden");
  // Its "ok" (whatever it says): closing before it has read us would be a client that went away.
  char answer[16];
  if (TRY(sys::WaitReadable(connection, Deadline::After(seconds(1)))) &&
      ::read(connection.get(), answer, sizeof answer) > 0) {
    return {};
  }
  return Fail(Code::kUnavailable, "speak to the warden: no answer");
}

Result<ExitStatus> LaunchedVmImpl::Stop(std::optional<milliseconds> grace) {
  const milliseconds allowed =
      std::clamp(grace.value_or(record_.stop_grace), milliseconds(0), milliseconds(86400000));
  const auto deadline = Deadline::After(allowed + kWardenSlack);
  if (TRY(sys::WaitPidFd(pidfd_, Deadline::After({})))) return Wait(deadline);
  if (!Command(fmt::format("stop {}\n", allowed.count()))) {
    // The warden takes a plain TERM too, with the grace of its launch. It has ended meanwhile where
    // that fails.
    (void)sys::SignalPidFd(pidfd_, SIGTERM);
  }
  auto status = Wait(deadline);
  if (status || status.error().code() != Code::kDeadlineExceeded) return status;
  return Kill();
}

Result<ExitStatus> LaunchedVmImpl::Kill() {
  if (TRY(sys::WaitPidFd(pidfd_, Deadline::After({})))) return Wait(Deadline::Never());
  if (!record_.cgroup.empty()) (void)sys::KillCgroup(sys::HostCgroups(), record_.cgroup);
  // Process 1 of the pid namespace: the kernel ends everything else in it before this one counts as
  // ended.
  if (auto sent = sys::SignalPidFd(pidfd_, SIGKILL);
      !sent && sent.error().code() != Code::kNotFound) {
    return std::unexpected(std::move(sent).error());
  }
  auto status = TRY(Wait(Deadline::After(kKillTime)));
  if (status.stopped_by == "warden") {
    status.stopped_by = "kill";
    TRY(WriteExitStatus(exit_file_, status));
  }
  return status;
}

Result<std::string> LaunchedVmImpl::ConsoleTail(std::size_t max) {
  std::string text = FileTail(fmt::format("{}/{}", run_dir_, warden::kConsoleFile), max);
  if (text.size() < max) {
    text.insert(
        0, FileTail(fmt::format("{}/{}", run_dir_, warden::kOldConsoleFile), max - text.size()));
  }
  return text;
}

}  // namespace

std::unique_ptr<LaunchedVm> MakeLaunchedVm(const std::string& run_dir, VmRecord record,
                                           sys::UniqueFd pidfd, sys::UniqueFd exit_file,
                                           std::optional<LaunchReport> report) {
  return std::make_unique<LaunchedVmImpl>(run_dir, std::move(record), std::move(pidfd),
                                          std::move(exit_file), std::move(report));
}

Result<std::optional<sys::UniqueFd>> FindWarden(const VmRecord& record) {
  using Found = std::optional<sys::UniqueFd>;
  if (record.warden_pid <= 1 || record.boot_id != TRY(sys::BootId())) return Found();
  auto pidfd = sys::OpenPidFd(record.warden_pid);
  if (!pidfd && pidfd.error().code() == Code::kNotFound) return Found();
  if (!pidfd) return std::unexpected(std::move(pidfd).error());
  // Read after the pidfd was opened: if it is the warden's start time now, the pidfd is the
  // warden's.
  const auto start = sys::ProcessStartTime(record.warden_pid);
  if (!start && start.error().code() != Code::kNotFound) return std::unexpected(start.error());
  if (!start || *start != record.warden_start) return Found();
  return Found(std::move(*pidfd));
}

Result<std::unique_ptr<LaunchedVm>> Adopt(const std::string& run_dir) {
  auto record = TRY_CTX(ReadRecord(run_dir), fmt::format("adopt the VM of '{}'", run_dir));
  if (record.warden_pid == 0) {
    return Fail(Code::kNotFound,
                fmt::format("adopt the VM of '{}': its launch was never finished", run_dir));
  }
  auto warden = TRY(FindWarden(record));
  if (!warden) {
    // Readable for ever, as a pidfd of an ended process is.
    warden = sys::UniqueFd(::eventfd(1, EFD_CLOEXEC));
    if (!*warden) return FailErrno(errno, "make an eventfd");
  }
  auto exit_file = TRY(sys::Open(fmt::format("{}/{}", run_dir, warden::kExitFile), O_RDWR));
  return MakeLaunchedVm(run_dir, std::move(record), std::move(*warden), std::move(exit_file));
}

}  // namespace tinderbox::vmm
