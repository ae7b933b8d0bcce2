// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <sys/socket.h>

#include "warden/jail.h"
#include "warden/kernel.h"

namespace tinderbox::warden {
namespace {

alignas(16) char plan_buffer[kMaxPlanBytes];

// Yields the string at *cursor and moves the cursor behind its NUL; null at the end of the message.
const char* NextString(const char** cursor, const char* end) {
  const char* start = *cursor;
  for (const char* c = start; c < end; ++c) {
    if (*c == 0) {
      *cursor = c + 1;
      return start;
    }
  }
  return nullptr;
}

// Takes the descriptors out of the control message into `fds`; yields their number.
size_t TakeFds(msghdr* message, int* fds, size_t max) {
  if (message->msg_controllen < sizeof(cmsghdr)) return 0;
  const auto* header = static_cast<const cmsghdr*>(message->msg_control);
  if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) return 0;
  const size_t count = (header->cmsg_len - sizeof(cmsghdr)) / sizeof(int);
  const int* received = reinterpret_cast<const int*>(header + 1);
  for (size_t i = 0; i < count && i < max; ++i) fds[i] = received[i];
  return count < max ? count : max;
}

bool AssignFds(Launch* launch, const int* fds, size_t count) {
  const Plan& plan = *launch->plan;
  if (count != 1u + plan.has_netns + plan.bind_count) return false;
  launch->run_dir = *fds++;
  if (plan.has_netns != 0) launch->netns = *fds++;
  for (uint32_t i = 0; i < plan.bind_count; ++i) launch->binds[i] = *fds++;
  return true;
}

}  // namespace

bool ReceivePlan(int socket, Launch* launch) {
  alignas(cmsghdr) static char control[CMSG_SPACE(kMaxFds * sizeof(int))];
  static int fds[kMaxFds];
  iovec part = {plan_buffer, sizeof plan_buffer};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const long size = Call(__NR_recvmsg, socket, &message, MSG_CMSG_CLOEXEC);
  if (size < static_cast<long>(sizeof(Plan)) || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
    return false;
  }
  launch->socket = socket;
  launch->plan = reinterpret_cast<const Plan*>(plan_buffer);
  const Plan& plan = *launch->plan;
  if (plan.magic != Plan().magic || plan.arg_count == 0 || plan.arg_count > kMaxArgs ||
      plan.bind_count > kMaxBinds || plan.cgroup_count > kMaxFds || plan.has_netns > 1 ||
      plan.device_count > kMaxDevices) {
    return false;
  }
  const char* cursor = plan_buffer + sizeof(Plan);
  const char* end = plan_buffer + size;
  launch->run_dir_path = NextString(&cursor, end);
  launch->vmm_path = NextString(&cursor, end);
  bool whole = launch->run_dir_path != nullptr && launch->vmm_path != nullptr;
  for (uint32_t i = 0; i < plan.arg_count; ++i) {
    launch->argv[i] = NextString(&cursor, end);
    whole = whole && launch->argv[i] != nullptr;
  }
  for (uint32_t i = 0; i < plan.bind_count; ++i) {
    launch->bind_targets[i] = NextString(&cursor, end);
    whole = whole && launch->bind_targets[i] != nullptr && launch->bind_targets[i][0] != 0;
  }
  return whole && AssignFds(launch, fds, TakeFds(&message, fds, kMaxFds));
}

bool ReceiveFds(int socket, int* fds, size_t count) {
  alignas(cmsghdr) static char control[CMSG_SPACE(kMaxFds * sizeof(int))];
  char byte = 0;
  iovec part = {&byte, 1};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  return Call(__NR_recvmsg, socket, &message, MSG_CMSG_CLOEXEC) == 1 &&
         TakeFds(&message, fds, count) == count;
}

bool ReceiveCommit(Launch* launch) {
  int fds[3];
  if (!ReceiveFds(launch->socket, fds, 3)) return false;
  launch->console = fds[0];
  launch->exit_file = fds[1];
  launch->listener = fds[2];
  Close(launch->socket);
  launch->socket = -1;
  return true;
}

namespace {
int64_t step_began = 0;
}

long BeginStep(Launch* launch, Step step, const char* object) {
  launch->report.step = static_cast<uint32_t>(step);
  NoteObject(launch, object);
  step_began = Now();
  return launch->plan->fail_step == static_cast<uint32_t>(step) ? -EIO : 0;
}

void EndStep(Launch* launch, Step step) {
  launch->report.step_ns[static_cast<size_t>(step)] = Now() - step_began;
}

void NoteObject(Launch* launch, const char* object) {
  size_t n = strlen(object);
  if (n >= kMaxObject) n = kMaxObject - 1;
  memcpy(launch->report.object, object, n);
  launch->report.object[n] = 0;
}

}  // namespace tinderbox::warden
