// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox-warden: process 1 of one VM's pid namespace. It builds the jail, starts the VMM, keeps
// its console and its exit status, and runs the stop ladder. It outlives the daemon; when it dies,
// the kernel kills everything in the namespace.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include "warden/console.h"
#include "warden/control.h"
#include "warden/jail.h"
#include "warden/kernel.h"
#include "warden/ladder.h"
#include "warden/oom_score.h"

namespace tinderbox::warden {
namespace {

constexpr size_t kDrainBytes = 256 * 1024;  // last words of a VMM, beyond the rate limit
constexpr int kBadStart = 125;              // exit code where no VMM was ever started

Launch launch;

// Everything that the warden holds once the VMM runs.
class Supervisor {
 public:
  Supervisor(int signals, int output, int vmm)
      : signals_(signals),
        output_(output),
        vmm_(vmm),
        console_(launch.run_dir, launch.console, launch.plan->console_bytes, Now()),
        control_(launch.listener) {}

  // Until the VMM has ended; then puts its affairs in order and yields the warden's exit code.
  int Run();

 private:
  static constexpr size_t kFixed = 2;  // signals, output

  int PollTimeout(int64_t now);
  void TakeSignals();
  void Reap();
  static const char* Handle(void* context, Command command);
  const char* Handle(Command command);
  void StartLadder(uint32_t grace_ms);
  void KeepStatus();

  int signals_;
  int output_;
  int vmm_;
  bool ended_ = false;
  bool signalled_ = false;
  int code_ = 0;
  Ladder ladder_;
  Console console_;
  Control control_;
};

int Supervisor::PollTimeout(int64_t now) {
  int64_t left = ladder_.Left(now);
  // Asleep for good when nothing is pending; a throttled console looks again after 20 ms.
  if (output_ >= 0 && !console_.Ready(now) && (left < 0 || left > 20000000)) left = 20000000;
  return left < 0 ? -1 : static_cast<int>((left + 999999) / 1000000);
}

void Supervisor::Reap() {
  for (;;) {
    int status = 0;
    const long pid = Call(__NR_wait4, -1, &status, 1 /* WNOHANG */, nullptr);
    if (pid <= 0) return;
    if (pid != vmm_) continue;  // an orphan of the VM's, reaped and forgotten
    ended_ = true;
    signalled_ = (status & 0x7f) != 0;
    code_ = signalled_ ? status & 0x7f : (status >> 8) & 0xff;
  }
}

void Supervisor::TakeSignals() {
  signalfd_siginfo info;
  while (Call(__NR_read, signals_, &info, sizeof info) == static_cast<long>(sizeof info)) {
    if (info.ssi_signo == SIGTERM) StartLadder(launch.plan->stop_grace_ms);
  }
  Reap();
}

void Supervisor::StartLadder(uint32_t grace_ms) {
  if (!ladder_.Stop(Now(), grace_ms)) return;
  // -1 is every process of this pid namespace but the warden itself: forked children are not
  // missed.
  Call(__NR_kill, -1, SIGTERM);
}

const char* Supervisor::Handle(void* context, Command command) {
  return static_cast<Supervisor*>(context)->Handle(command);
}

const char* Supervisor::Handle(Command command) {
  if (command.verb == Verb::kStop) {
    StartLadder(command.milliseconds);
    return "ok\n";
  }
  if (command.verb != Verb::kStatus) return nullptr;
  switch (ladder_.rung()) {
    case Ladder::Rung::kNone: return "running\n";
    case Ladder::Rung::kTerm: return "stopping term\n";
    case Ladder::Rung::kKill: return "stopping kill\n";
  }
  return nullptr;
}

void Supervisor::KeepStatus() {
  const char* rung = "";
  if (ladder_.rung() == Ladder::Rung::kTerm) rung = "term";
  if (ladder_.rung() == Ladder::Rung::kKill) rung = "kill";
  Line json;
  json.Add("{\"signalled\":").Add(signalled_ ? "true" : "false").Add(",\"code\":").Add(code_);
  json.Add(",\"stopped_by\":\"").Add(rung).Add("\"}\n");
  Call(__NR_pwrite64, launch.exit_file, json.data(), json.size(), 0);
  Line line;
  line.Add("exit ").Add(signalled_ ? 1 : 0).Add(" ").Add(code_).Add(" ").Add(rung).Add("\n");
  control_.Announce(line);
}

int Supervisor::Run() {
  pollfd entries[kFixed + 1 + Control::kMaxClients];
  while (!ended_) {
    const int64_t now = Now();
    if (ladder_.Expired(now)) Call(__NR_kill, -1, SIGKILL);
    entries[0] = {signals_, POLLIN, 0};
    entries[1] = {console_.Ready(now) ? output_ : -1, POLLIN, 0};
    const size_t controls = control_.Prepare(entries + kFixed);
    const int timeout = PollTimeout(now);
    const int64_t wait[2] = {timeout / 1000, timeout % 1000 * 1000000ll};
    const long n =
        Call(__NR_ppoll, entries, kFixed + controls, timeout < 0 ? nullptr : wait, nullptr, 0);
    if (n <= 0) continue;
    // The console before the signals: an exit must not overtake the words that came before it.
    if (entries[1].revents != 0 && console_.Pump(output_) <= 0) {
      Close(output_);
      output_ = -1;
    }
    control_.Dispatch(entries + kFixed, controls, Handle, this);
    if (entries[0].revents != 0) TakeSignals();
  }
  Call(__NR_kill, -1, SIGKILL);  // what the VMM may have left running
  if (output_ >= 0) console_.Drain(output_, kDrainBytes);
  KeepStatus();
  return signalled_ ? 128 + code_ : code_;
}

[[noreturn]] void FailLaunch(long error) {
  launch.report.failed = 1;
  launch.report.error = static_cast<int32_t>(-error);
  Call(__NR_sendto, launch.socket, &launch.report, sizeof launch.report, MSG_NOSIGNAL, nullptr, 0);
  Exit(kBadStart);
}

// The report, with the VMM's pid in the credentials: this process may name it for as long as it
// holds CAP_SYS_ADMIN, and the kernel translates it into the launcher's pid namespace.
long SendReport(int vmm) {
  struct {
    int pid;
    unsigned uid;
    unsigned gid;
  } credentials = {vmm, 0, 0};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof credentials)] = {};
  iovec part = {&launch.report, sizeof launch.report};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  auto* header = reinterpret_cast<cmsghdr*>(control);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_CREDENTIALS;
  header->cmsg_len = CMSG_LEN(sizeof credentials);
  memcpy(header + 1, &credentials, sizeof credentials);
  return Call(__NR_sendmsg, launch.socket, &message, MSG_NOSIGNAL);
}

}  // namespace

int Main() {
  // Signals are read from a signalfd, later. As process 1 of the namespace the warden would not be
  // sent an unblocked one without a handler anyway.
  const uint64_t all = ~0ul;
  Call(__NR_rt_sigprocmask, 0 /* SIG_BLOCK */, &all, nullptr, sizeof all);
  launch.bounding_set = DropBoundingSet();
  OomScore oom_score;
  oom_score.Open();
  if (!ReceivePlan(kLaunchSocketFd, &launch)) {
    launch.socket = kLaunchSocketFd;
    launch.report.step = static_cast<uint32_t>(Step::kClone);
    NoteObject(&launch, "plan of the launch");
    FailLaunch(-EBADMSG);
  }
  if (const long r = EnterJail(&launch); r < 0) FailLaunch(r);
  NoteObject(&launch, "console pipe");
  int output[2] = {-1, -1};
  if (const long r = Call(__NR_pipe2, output, O_CLOEXEC); r < 0) FailLaunch(r);
  oom_score.RaiseTo(kVmmOomScore);
  const long vmm = StartVmm(&launch, output[1]);
  oom_score.Restore();
  if (vmm < 0) FailLaunch(vmm);
  Close(output[1]);
  if (SendReport(static_cast<int>(vmm)) < 0) Exit(kBadStart);

  // The rest is off the launch's path.
  CloseLaunchFds(&launch);
  Call(__NR_fcntl, output[0], F_SETFL, O_NONBLOCK);
  const long signals = Call(__NR_signalfd4, -1, &all, sizeof all, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0 || DropPrivileges() < 0) Exit(kBadStart);
  // A launcher that died before it has noted the VM down leaves none: nobody would know of it. The
  // kernel ends the VM with this process.
  if (!ReceiveCommit(&launch)) Exit(kBadStart);
  return Supervisor(static_cast<int>(signals), output[0], static_cast<int>(vmm)).Run();
}

}  // namespace tinderbox::warden

extern "C" [[noreturn, gnu::used]] void WardenMain() {
  tinderbox::warden::Exit(tinderbox::warden::Main());
}
