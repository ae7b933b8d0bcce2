// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <signal.h>

#include "warden/filter.h"
#include "warden/jail.h"
#include "warden/kernel.h"

namespace tinderbox::warden {
namespace {

// sigaction as the kernel has it.
struct KernelSigaction {
  uintptr_t handler;
  unsigned long flags;
  void (*restorer)();
  uint64_t mask;
};
constexpr uintptr_t kIgnoreSignal = 1;

// See linux/prctl.h and the kernel's pid types.
constexpr int kSchedCore = 62;
constexpr int kSchedCoreCreate = 1;
constexpr int kSchedCoreScopeProcess = 1;

struct Child {
  Launch* launch;
  int output;
  long error = 0;  // written by the child, which shares our memory until its exec
};

long SetLimit(int resource, uint64_t value) {
  const uint64_t limit[2] = {value, value};
  return Call(__NR_prlimit64, 0, resource, limit, nullptr);
}

long SetLimits(Child* child) {
  Launch* launch = child->launch;
  if (long r = BeginStep(launch, Step::kLimits, "RLIMIT_NOFILE"); r < 0) return r;
  if (long r = SetLimit(RLIMIT_NOFILE, launch->plan->open_files); r < 0) return r;
  NoteObject(launch, "RLIMIT_CORE");
  // Not 0: to a program that takes core dumps by a pipe the kernel gives what the limit forbids,
  // but for a limit of 1, which it takes for "none at all".
  if (long r = SetLimit(RLIMIT_CORE, 1); r < 0) return r;
  NoteObject(launch, "RLIMIT_FSIZE");
  if (long r = SetLimit(RLIMIT_FSIZE, launch->plan->file_bytes); r < 0) return r;
  // A write beyond that limit fails, and does not end the VMM by a signal.
  const KernelSigaction ignore = {kIgnoreSignal, 0, nullptr, 0};
  if (long r = Call(__NR_rt_sigaction, SIGXFSZ, &ignore, nullptr, sizeof ignore.mask); r < 0)
    return r;
  // A scheduling cookie of the VM's own: no thread of another VM shares a core with it at the same
  // time. Kernels and CPUs without that refuse it, which is not a reason to refuse a VM.
  Call(__NR_prctl, kSchedCore, kSchedCoreCreate, 0, kSchedCoreScopeProcess, 0);
  Call(__NR_umask, 077);
  NoteObject(launch, "descriptors");
  if (long r = Call(__NR_dup3, child->output, 1, 0); r < 0) return r;
  if (long r = Call(__NR_dup3, child->output, 2, 0); r < 0) return r;
  // Everything but 0 (/dev/null since the launcher) and the two pipe ends just made.
  if (long r = Call(__NR_close_range, 3, ~0u, 0); r < 0) return r;
  EndStep(launch, Step::kLimits);
  return 0;
}

long SetCapabilities(uint32_t effective) {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct data[2] = {{effective, effective, 0}, {0, 0, 0}};
  return Call(__NR_capset, &header, data);
}

long DropCredentials(Child* child) {
  // The order is forced: groups and gid need CAP_SETGID, and setresuid takes it away. The bounding
  // set is empty since the warden began.
  Launch* launch = child->launch;
  const Plan& plan = *launch->plan;
  if (long r = BeginStep(launch, Step::kCredentials, "capability bounding set"); r < 0) return r;
  if (launch->bounding_set < 0) return launch->bounding_set;
  NoteObject(launch, "supplementary groups");
  if (long r = Call(__NR_setgroups, 0, nullptr); r < 0) return r;
  NoteObject(launch, "gid");
  if (long r = Call(__NR_setresgid, plan.gid, plan.gid, plan.gid); r < 0) return r;
  NoteObject(launch, "uid");
  if (long r = Call(__NR_setresuid, plan.uid, plan.uid, plan.uid); r < 0) return r;
  NoteObject(launch, "capabilities");
  if (long r = Call(__NR_prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); r < 0) return r;
  if (long r = SetCapabilities(0); r < 0) return r;
  NoteObject(launch, "no_new_privs");
  if (long r = Call(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); r < 0) return r;
  // Last, since it refuses some of what has just been done.
  NoteObject(launch, "system call filter");
  if (long r = InstallFilter(plan.may_fork != 0); r < 0) return r;
  EndStep(launch, Step::kCredentials);
  return 0;
}

long Exec(Child* child) {
  Launch* launch = child->launch;
  if (long r = BeginStep(launch, Step::kExec, launch->vmm_path); r < 0) return r;
  // The warden's signals are all blocked, which the VMM would inherit. Its session is the warden's,
  // which is the VM's own: another setsid would move it to another scheduling group once more, a
  // wait of milliseconds on a busy host.
  const uint64_t none = 0;
  Call(__NR_rt_sigprocmask, SIG_SETMASK, &none, nullptr, sizeof none);
  const char* const environment[] = {nullptr};
  launch->report.exec_at_ns = Now();
  return Call(__NR_execve, launch->vmm_path, launch->argv, environment);
}

void RunChild(void* argument) {
  auto* child = static_cast<Child*>(argument);
  child->error = SetLimits(child);
  if (child->error >= 0) child->error = DropCredentials(child);
  if (child->error >= 0) child->error = Exec(child);
  Exit(127);
}

}  // namespace

long StartVmm(Launch* launch, int output) {
  Child child = {launch, output};
  launch->report.step = static_cast<uint32_t>(Step::kExec);
  const long pid = StartSharing(RunChild, &child);
  if (pid < 0) return pid;
  // The child has exec'ed or ended by now, or this process would still stand still.
  if (child.error < 0) return child.error;
  EndStep(launch, Step::kExec);
  return pid;
}

long DropBoundingSet() {
  for (int capability = 0; capability < 64; ++capability) {
    const long r = Call(__NR_prctl, PR_CAPBSET_DROP, capability, 0, 0, 0);
    if (r == -EINVAL && capability > 0) return 0;  // behind the last that this kernel knows
    if (r < 0) return r;
  }
  return 0;
}

long DropPrivileges() {
  if (long r = Call(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); r < 0) return r;
  if (long r = Call(__NR_prctl, PR_SET_DUMPABLE, 0, 0, 0, 0); r < 0) return r;
  // CAP_KILL alone, for the stop ladder: the VM's processes have another uid.
  return SetCapabilities(1u << CAP_KILL);
}

}  // namespace tinderbox::warden
