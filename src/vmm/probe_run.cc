// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// ProbeKvm: the probe guest in a process of its own, and the facts that it left.
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <iterator>
#include <new>

#include "base/deadline.h"
#include "sys/fd.h"
#include "vmm/internal/probe_guest.h"
#include "vmm/probe.h"

namespace tinderbox::vmm {
namespace {

// Time for a try, by how many have run out of time before it. On a busy host, making a VM alone can
// take hundreds of milliseconds.
constexpr std::chrono::milliseconds kAllowed[] = {std::chrono::milliseconds(500),
                                                  std::chrono::milliseconds(2000),
                                                  std::chrono::milliseconds(4000)};
constexpr int kMostTries = 6;
// How long a killed child may take to leave KVM, and then to be gone.
constexpr std::chrono::milliseconds kKillAllowed{1900};

// Memory that parent and child share. Unmapped only if the child is surely gone.
class SharedPage {
 public:
  SharedPage() {
    void* memory = ::mmap(nullptr, sizeof(internal::ProbePage), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory != MAP_FAILED) page_ = new (memory) internal::ProbePage{};
  }
  SharedPage(const SharedPage&) = delete;
  SharedPage& operator=(const SharedPage&) = delete;
  ~SharedPage() {
    if (page_ != nullptr) ::munmap(page_, sizeof *page_);
  }
  internal::ProbePage* get() const { return page_; }

 private:
  internal::ProbePage* page_ = nullptr;
};

bool WaitEnd(const sys::UniqueFd& pidfd, base::Deadline deadline) {
  for (;;) {
    pollfd poll_fd{.fd = pidfd.get(), .events = POLLIN, .revents = 0};
    const int ready = ::poll(&poll_fd, 1, deadline.poll_timeout());
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

KvmFacts CannotProbe(const char* call) {
  KvmFacts facts;
  facts.failed_call = call;
  facts.call_errno = errno;
  return facts;
}

KvmFacts Collect(const internal::ProbePage& page) {
  KvmFacts facts;
  facts.open_errno = page.open_errno;
  facts.api_version = page.api_version;
  for (int i = 0; i < internal::kNeededCapabilityCount; ++i) {
    if ((page.missing >> i & 1) != 0)
      facts.missing.push_back(internal::kNeededCapabilities[i].name);
  }
  if (const char* call = page.failed_call) facts.failed_call = call;
  facts.call_errno = page.call_errno;
  facts.stage = page.stage;
  facts.exit_reason = page.exit_reason;
  // Instructions per microsecond are millions per second.
  if (page.long_loop_ns != 0) {
    facts.mips = internal::kLongLoopInstructions * 1e3 / static_cast<double>(page.long_loop_ns);
  } else if (page.short_loop_ns != 0) {
    facts.mips = internal::kShortLoopInstructions * 1e3 / static_cast<double>(page.short_loop_ns);
  }
  return facts;
}

// One run of the probe in a child process.
KvmFacts RunOnce(std::chrono::milliseconds allowed) {
  SharedPage page;
  if (page.get() == nullptr) return CannotProbe("mmap");
  const pid_t child = ::fork();
  if (child < 0) return CannotProbe("fork");
  if (child == 0) {
    internal::RunProbeGuest(*page.get());
    ::_exit(0);
  }
  const sys::UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  const bool in_time = pidfd && WaitEnd(pidfd, base::Deadline::After(allowed));
  bool gone = in_time;
  if (!in_time) {
    ::kill(child, SIGKILL);
    gone = pidfd && WaitEnd(pidfd, base::Deadline::After(kKillAllowed));
  }
  KvmFacts facts = Collect(*page.get());
  facts.timed_out = !in_time;
  // A child stuck inside KVM stays behind, killed, for init to reap.
  if (gone) {
    while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  return facts;
}

}  // namespace

KvmReport ProbeKvm() {
  // A host must not lose its KVM, and with it its isolation, because it was busy for a moment.
  KvmReport best;
  std::size_t timeouts = 0;
  for (int i = 0; i < kMostTries && timeouts < std::size(kAllowed); ++i) {
    const KvmFacts facts = RunOnce(kAllowed[timeouts]);
    KvmReport report = JudgeKvm(facts);
    const bool better =
        report.verdict == best.verdict ? report.mips >= best.mips : report.verdict > best.verdict;
    if (better) best = std::move(report);
    if (!LoadMayExplain(facts)) break;
    if (facts.timed_out) ++timeouts;
  }
  return best;
}

}  // namespace tinderbox::vmm
