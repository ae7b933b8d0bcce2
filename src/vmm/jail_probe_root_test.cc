// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// System calls of a VMM, as seen from inside its jail (tests/programs/jail_probe.cc).
#include <gmock/gmock.h>
#include <linux/falloc.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <map>
#include <set>
#include <sstream>

#include "vmm/launch_test_fixture.h"
#include "warden/allowed_calls.h"

namespace tinderbox::vmm {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::Not;

using Numbers = std::set<long>;

class ROOT_JailProbe : public LaunchTest {
 protected:
  // The probe's output, by the first word of the line.
  std::map<std::string, Numbers> Probe(bool processes) {
    auto spec = Spec({});
    spec.vmm = TINDERBOX_JAIL_PROBE;
    spec.processes = processes;
    const auto vm = Start(spec);
    std::map<std::string, Numbers> found;
    if (!vm) return found;
    std::istringstream lines(AwaitConsole(*vm, "end\n"));
    for (std::string line; std::getline(lines, line);) {
      std::istringstream words(line);
      std::string what;
      long number = 0;
      words >> what;
      if (what == "clone") words >> std::hex;
      if (words >> number) found[what].insert(number);
    }
    return found;
  }
};

TEST_F(ROOT_JailProbe, AVmmCanMakeTheDocumentedCallsAndNoOthers) {
  auto found = Probe(false);
  Numbers expected = {SYS_socket, SYS_socketpair, SYS_clone, SYS_fallocate, SYS_madvise, SYS_prctl};
  for (const auto number : warden::kAllowedCalls) expected.insert(number);
  EXPECT_EQ(found["call"], expected);
  EXPECT_THAT(found["family"], ElementsAre(AF_UNIX));
  EXPECT_THAT(found["pair"], ElementsAre(AF_UNIX));
  EXPECT_THAT(found["clone"], ElementsAre(CLONE_THREAD | CLONE_SIGHAND | CLONE_VM))
      << "threads, no processes and no namespaces";
  EXPECT_THAT(found["fallocate"],
              ElementsAre(0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE));
  EXPECT_THAT(found["madvise"], Not(Contains(MADV_MERGEABLE)));
  EXPECT_THAT(found["madvise"], Contains(MADV_DONTDUMP));
  EXPECT_THAT(found["prctl"], Not(Contains(62))) << "PR_SCHED_CORE";
  EXPECT_THAT(found["prctl"], Not(Contains(67))) << "PR_SET_MEMORY_MERGE";
}

// By name, so that no edit of the list lets one of these in unnoticed.
TEST_F(ROOT_JailProbe, WhatHasBrokenOutOfSandboxesIsRefused) {
  auto found = Probe(false);
  ASSERT_FALSE(found["call"].empty());
  for (const long number : {
           SYS_io_uring_setup,
           SYS_io_uring_enter,
           SYS_io_uring_register,
           SYS_userfaultfd,
           SYS_memfd_secret,
           SYS_modify_ldt,
           SYS_personality,
           SYS_vmsplice,
           SYS_splice,
           SYS_tee,
           SYS_process_madvise,
           SYS_landlock_create_ruleset,
           SYS_inotify_init1,
           SYS_inotify_init,
           SYS_fanotify_init,
           SYS_mq_open,
           SYS_shmget,
           SYS_semget,
           SYS_msgget,
           SYS_mlock,
           SYS_mlockall,
           SYS_bpf,
           SYS_perf_event_open,
           SYS_keyctl,
           SYS_add_key,
           SYS_request_key,
           SYS_ptrace,
           SYS_process_vm_readv,
           SYS_process_vm_writev,
           SYS_pidfd_getfd,
           SYS_pidfd_open,
           SYS_kcmp,
           SYS_unshare,
           SYS_setns,
           SYS_mount,
           SYS_pivot_root,
           SYS_chroot,
           SYS_open_tree,
           SYS_fsopen,
           SYS_clone3,
           SYS_fork,
           SYS_vfork,
           SYS_execveat,
           SYS_symlink,
           SYS_symlinkat,
           SYS_link,
           SYS_linkat,
           SYS_mknod,
           SYS_mknodat,
           SYS_rename,
           SYS_mkdir,
           SYS_chown,
           SYS_setuid,
           SYS_setgid,
           SYS_capset,
           SYS_open_by_handle_at,
           SYS_name_to_handle_at,
           SYS_io_setup,
           SYS_timer_create,
           SYS_setsid,
           SYS_sched_setscheduler,
           SYS_sched_setattr,
           SYS_sched_setaffinity,
           SYS_setpriority,
           SYS_ioprio_set,
           SYS_mbind,
           SYS_migrate_pages,
           SYS_move_pages,
           SYS_remap_file_pages,
           SYS_iopl,
           SYS_ioperm,
           SYS_reboot,
           SYS_syslog,
           SYS_init_module,
           SYS_finit_module,
           SYS_kexec_load,
           SYS_swapon,
           SYS_acct,
           SYS_quotactl,
           SYS_lookup_dcookie,
           SYS_uselib,
           SYS_ustat,
           SYS_sysfs,
       }) {
    EXPECT_THAT(found["call"], Not(Contains(number)));
  }
}

TEST_F(ROOT_JailProbe, ProcessesOnlyIfTheLaunchAllowsThem) {
  auto found = Probe(true);
  EXPECT_THAT(found["clone"],
              ElementsAre(0, SIGCHLD, CLONE_VM | SIGCHLD, CLONE_VM | CLONE_VFORK | SIGCHLD,
                          CLONE_THREAD | CLONE_SIGHAND | CLONE_VM));
  EXPECT_THAT(found["call"], Contains(SYS_fork));
}

}  // namespace
}  // namespace tinderbox::vmm
