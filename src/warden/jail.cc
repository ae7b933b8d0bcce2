// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "warden/jail.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <sys/stat.h>

#include "warden/kernel.h"
#include "warden/text.h"

// linux/mount.h and sys/mount.h cannot both be included; these two are all that is needed here.
#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif

namespace tinderbox::warden {
namespace {

// Evaluates a step's call; a failure ends the function with its negative errno.
#define CHECK_STEP(call)                         \
  do {                                           \
    const long check_result_ = (call);           \
    if (check_result_ < 0) return check_result_; \
  } while (false)

long MakePrivate(Launch* launch) {
  // Before the first mount: the copied mounts are still peers of the host's, and without this each
  // mount below would appear there too.
  CHECK_STEP(BeginStep(launch, Step::kMountPrivate, "/"));
  mount_attr attributes = {};
  attributes.propagation = 1 << 18;  // MS_PRIVATE
  CHECK_STEP(Call(__NR_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &attributes, sizeof attributes));
  EndStep(launch, Step::kMountPrivate);
  return 0;
}

// A tmpfs that is mounted nowhere yet.
long MakeTmpfs(const char* size, const char* inodes, unsigned attributes) {
  const long context = Call(__NR_fsopen, "tmpfs", FSOPEN_CLOEXEC);
  if (context < 0) return context;
  const int fd = static_cast<int>(context);
  long result = Call(__NR_fsconfig, fd, FSCONFIG_SET_STRING, "size", size, 0);
  if (result >= 0) result = Call(__NR_fsconfig, fd, FSCONFIG_SET_STRING, "nr_inodes", inodes, 0);
  if (result >= 0) result = Call(__NR_fsconfig, fd, FSCONFIG_SET_STRING, "mode", "0755", 0);
  if (result >= 0) result = Call(__NR_fsconfig, fd, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0);
  if (result >= 0) result = Call(__NR_fsmount, fd, FSMOUNT_CLOEXEC, attributes);
  Close(fd);
  return result;
}

long MakeWorkspace(Launch* launch, int* workspace) {
  CHECK_STEP(BeginStep(launch, Step::kWorkspace, launch->run_dir_path));
  Line size;
  size.Add(static_cast<int64_t>(launch->plan->workspace_bytes));
  // Nothing in the workspace itself is ever executed: the VMM's binary comes by a bind mount, which
  // has flags of its own.
  const long mounted =
      MakeTmpfs(size.data(), "1024", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  CHECK_STEP(mounted);
  *workspace = static_cast<int>(mounted);
  // The run directory is only a place to hang the mount until pivot_root; in the host's namespace
  // it stays what it is.
  CHECK_STEP(Call(__NR_move_mount, *workspace, "", AT_FDCWD, launch->run_dir_path,
                  MOVE_MOUNT_F_EMPTY_PATH));
  // The one place where the VMM can write: its sockets.
  CHECK_STEP(Call(__NR_mkdirat, *workspace, "run", 0700));
  CHECK_STEP(Call(__NR_fchownat, *workspace, "run", launch->plan->uid, launch->plan->gid, 0));
  EndStep(launch, Step::kWorkspace);
  return 0;
}

// Opens `target` (absolute in the jail) below the workspace without following any link; makes it,
// and the directories above it, where it is missing.
long OpenMountPoint(int workspace, const char* target, bool directory) {
  char path[256];
  const size_t size = strlen(target);
  if (size < 2 || size >= sizeof path) return -ENAMETOOLONG;
  memcpy(path, target + 1, size);  // without the leading slash, with the NUL
  open_how how = {};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
  const long found = Call(__NR_openat2, workspace, path, &how, sizeof how);
  if (found != -ENOENT) return found;
  for (size_t i = 1; path[i] != 0; ++i) {
    if (path[i] != '/') continue;
    path[i] = 0;
    const long made = Call(__NR_mkdirat, workspace, path, 0755);
    if (made < 0 && made != -EEXIST) return made;
    path[i] = '/';
  }
  if (directory) {
    CHECK_STEP(Call(__NR_mkdirat, workspace, path, 0755));
  } else {
    CHECK_STEP(Call(__NR_mknodat, workspace, path, S_IFREG | 0444, 0));
  }
  return Call(__NR_openat2, workspace, path, &how, sizeof how);
}

long PlaceBinds(Launch* launch, int workspace) {
  // The launcher made these mounts, private, with their flags (read-only, nosuid, nodev) set: there
  // is no moment at which the VMM could see one of them writable.
  CHECK_STEP(BeginStep(launch, Step::kBinds, "binds"));
  for (uint32_t i = 0; i < launch->plan->bind_count; ++i) {
    const char* target = launch->bind_targets[i] + 1;
    NoteObject(launch, target);
    const long point = OpenMountPoint(workspace, target, launch->bind_targets[i][0] == 'd');
    CHECK_STEP(point);
    const long moved = Call(__NR_move_mount, launch->binds[i], "", static_cast<int>(point), "",
                            MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
    Close(static_cast<int>(point));
    CHECK_STEP(moved);
  }
  EndStep(launch, Step::kBinds);
  return 0;
}

long MakeDevices(Launch* launch, int workspace) {
  // A second tmpfs, because the workspace is mounted nodev. Nodes are made rather than bound from
  // the host: owner and mode are the VM's own, whatever the host's are.
  CHECK_STEP(BeginStep(launch, Step::kDevices, "/dev"));
  const long mounted = MakeTmpfs("64k", "32", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
  CHECK_STEP(mounted);
  const int dev = static_cast<int>(mounted);
  const Plan& plan = *launch->plan;
  for (uint32_t i = 0; i < plan.device_count; ++i) {
    const Device& device = plan.devices[i];
    NoteObject(launch, device.name);
    for (size_t c = 0; device.name[c] != 0; ++c) {
      if (device.name[c] != '/') continue;
      char parent[sizeof device.name] = {};
      memcpy(parent, device.name, c);
      CHECK_STEP(Call(__NR_mkdirat, dev, parent, 0755));
    }
    CHECK_STEP(Call(__NR_mknodat, dev, device.name, S_IFCHR | 0600, device.rdev));
    CHECK_STEP(Call(__NR_fchownat, dev, device.name, plan.uid, plan.gid, 0));
  }
  NoteObject(launch, "/dev");
  mount_attr attributes = {};
  attributes.attr_set = MOUNT_ATTR_RDONLY;
  CHECK_STEP(Call(__NR_mount_setattr, dev, "", AT_EMPTY_PATH, &attributes, sizeof attributes));
  CHECK_STEP(Call(__NR_mkdirat, workspace, "dev", 0755));
  CHECK_STEP(Call(__NR_move_mount, dev, "", workspace, "dev", MOVE_MOUNT_F_EMPTY_PATH));
  Close(dev);
  EndStep(launch, Step::kDevices);
  return 0;
}

long EnterNetns(Launch* launch) {
  // Without a namespace to enter, clone3 has made an empty one already.
  CHECK_STEP(BeginStep(launch, Step::kNetns, "network namespace"));
  if (launch->netns >= 0) CHECK_STEP(Call(__NR_setns, launch->netns, CLONE_NEWNET));
  EndStep(launch, Step::kNetns);
  return 0;
}

long Pivot(Launch* launch, int workspace) {
  // Last of the mounts: up to here host paths were needed. The old root is stacked upon the new one
  // and detached whole, so that this namespace is left with the workspace and its binds.
  CHECK_STEP(BeginStep(launch, Step::kPivot, launch->run_dir_path));
  CHECK_STEP(Call(__NR_fchdir, workspace));
  CHECK_STEP(Call(__NR_pivot_root, ".", "."));
  CHECK_STEP(Call(__NR_umount2, ".", MNT_DETACH));
  CHECK_STEP(Call(__NR_chdir, "/"));
  EndStep(launch, Step::kPivot);
  return 0;
}

long JoinCgroups(Launch* launch) {
  // Last before the VMM, which is all that the limits are for: the launcher makes the groups while
  // this process mounts. (A group of version 2 is where this process was born.) "0" into v1's
  // `tasks` moves the one thread that writes it, which spares the kernel the lock over all thread
  // groups.
  CHECK_STEP(BeginStep(launch, Step::kCgroupJoin, "cgroup"));
  const uint32_t count = launch->plan->cgroup_count;
  if (count > 0 && !ReceiveFds(launch->socket, launch->cgroups, count)) return -EPIPE;
  for (uint32_t i = 0; i < count; ++i) CHECK_STEP(Call(__NR_write, launch->cgroups[i], "0", 1));
  EndStep(launch, Step::kCgroupJoin);
  return 0;
}

long OpenSession(Launch* launch) {
  // Own session: no terminal and no process group of the daemon's reaches the VM. After the cgroup:
  // outside one, a new session is a new scheduling group, and moving into it a wait of milliseconds
  // on a busy host.
  CHECK_STEP(BeginStep(launch, Step::kSession, "session"));
  CHECK_STEP(Call(__NR_setsid));
  // The uts namespace starts with the host's name, which is none of the VM's business.
  CHECK_STEP(Call(__NR_sethostname, "vm", 2));
  EndStep(launch, Step::kSession);
  return 0;
}

}  // namespace

long EnterJail(Launch* launch) {
  int workspace = -1;
  // The modes below are meant as they are written.
  Call(__NR_umask, 0);
  CHECK_STEP(MakePrivate(launch));
  CHECK_STEP(MakeWorkspace(launch, &workspace));
  CHECK_STEP(PlaceBinds(launch, workspace));
  CHECK_STEP(MakeDevices(launch, workspace));
  CHECK_STEP(EnterNetns(launch));
  CHECK_STEP(Pivot(launch, workspace));
  CHECK_STEP(JoinCgroups(launch));
  CHECK_STEP(OpenSession(launch));
  Close(workspace);
  return 0;
}

void CloseLaunchFds(Launch* launch) {
  Close(launch->netns);
  for (uint32_t i = 0; i < launch->plan->cgroup_count; ++i) Close(launch->cgroups[i]);
  for (uint32_t i = 0; i < launch->plan->bind_count; ++i) Close(launch->binds[i]);
}

}  // namespace tinderbox::warden
