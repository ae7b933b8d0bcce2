// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/internal/probe_guest.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

// The guest. It reports a stage by writing its number to port 0x10. RSI points to zeroed, 64-byte
// aligned memory. Top-level assembly, so that what runs can be read here.
__asm__(R"(
    .pushsection .rodata
    .globl tinderbox_probe_guest_begin, tinderbox_probe_guest_end
tinderbox_probe_guest_begin:
    movb $1, %al                # long mode
    outb %al, $0x10

    movl $10000, %ecx
1:  decl %ecx
    jnz 1b
    movb $2, %al
    outb %al, $0x10

    xorl %eax, %eax             # the memory is 0, so it must become RCX:RBX
    xorl %edx, %edx
    movq $0x1111111111111111, %rbx
    movq $0x2222222222222222, %rcx
    lock cmpxchg16b (%rsi)
    jne 9f
    cmpq %rbx, (%rsi)
    jne 9f
    cmpq %rcx, 8(%rsi)
    jne 9f
    movb $3, %al
    outb %al, $0x10

    movq %cr4, %rax
    orl $0x40600, %eax          # OSFXSR, OSXMMEXCPT, OSXSAVE
    movq %rax, %cr4
    xorl %ecx, %ecx
    xorl %edx, %edx
    movl $3, %eax               # x87 and SSE
    xsetbv
    movq %rbx, %xmm0
    xsave 64(%rsi)
    pxor %xmm0, %xmm0
    movl $3, %eax
    xorl %edx, %edx
    xrstor 64(%rsi)
    movq %xmm0, %rax
    cmpq %rbx, %rax
    jne 9f
    movb $4, %al
    outb %al, $0x10

    movl $1000000, %ecx
1:  decl %ecx
    jnz 1b
    movb $5, %al
    outb %al, $0x10
9:  hlt
    jmp 9b
tinderbox_probe_guest_end:
    .popsection
)");

extern "C" const char tinderbox_probe_guest_begin[];
extern "C" const char tinderbox_probe_guest_end[];

namespace tinderbox::vmm::internal {

const NeededCapability kNeededCapabilities[kNeededCapabilityCount] = {
    {KVM_CAP_IRQCHIP, "IRQCHIP"},
    {KVM_CAP_IOEVENTFD, "IOEVENTFD"},
    {KVM_CAP_IRQFD, "IRQFD"},
    {KVM_CAP_USER_MEMORY, "USER_MEMORY"},
    {KVM_CAP_SET_TSS_ADDR, "SET_TSS_ADDR"},
    {KVM_CAP_PIT2, "PIT2"},
    {KVM_CAP_PIT_STATE2, "PIT_STATE2"},
    {KVM_CAP_ADJUST_CLOCK, "ADJUST_CLOCK"},
    {KVM_CAP_DEBUGREGS, "DEBUGREGS"},
    {KVM_CAP_MP_STATE, "MP_STATE"},
    {KVM_CAP_VCPU_EVENTS, "VCPU_EVENTS"},
    {KVM_CAP_XCRS, "XCRS"},
    {KVM_CAP_XSAVE, "XSAVE"},
    {KVM_CAP_EXT_CPUID, "EXT_CPUID"},
};

namespace {

// The guest's physical memory, 64 KiB; its first 2 MiB are mapped identically.
constexpr std::size_t kMemorySize = 0x10000;
constexpr std::uint64_t kPml4 = 0x1000, kPdpt = 0x2000, kDirectory = 0x3000;
constexpr std::uint64_t kCode = 0x4000, kData = 0x8000;
constexpr std::uint16_t kStagePort = 0x10;
// The guest exits once per stage; anything beyond is a KVM that returns without reason.
constexpr int kMaxExits = 64;

// In C++ the kernel's own kvm_cpuid2 is 12 bytes, not 8 (its flexible array comes with an empty
// struct), which makes other requests of the two ioctls than the kernel knows.
struct CpuidHead {
  std::uint32_t entries;
  std::uint32_t padding;
};
constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, CpuidHead);
constexpr unsigned long kSetCpuid = _IOW(KVMIO, 0x90, CpuidHead);
// KVM's own bound was 80 for long and is 256 today; a KVM with more entries than we give room for
// says E2BIG, one that dislikes so much room EINVAL.
constexpr std::uint32_t kCpuidEntries[] = {80, 256};

std::uint64_t NowNs() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(now.tv_nsec);
}

// Everything here lives in the child process and ends with it: nothing is closed or unmapped.
class Guest {
 public:
  explicit Guest(ProbePage& page) : page_(page) {}

  void Run() {
    if (Open() && MakeVm() && MakeMemory() && MakeVcpu() && SetCpuid() && SetRegisters()) Loop();
  }

 private:
  // ioctl(2) that notes the first failure.
  int Call(int fd, unsigned long request, void* argument, const char* name) {
    int result;
    do {
      result = ::ioctl(fd, request, argument);
    } while (result < 0 && errno == EINTR);
    if (result < 0) Failed(name);
    return result;
  }
  bool Failed(const char* name) {
    page_.call_errno = errno;
    page_.failed_call = name;
    return false;
  }

  bool Open() {
    kvm_ = ::open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (kvm_ < 0) {
      page_.open_errno = errno;
      return false;
    }
    page_.api_version = Call(kvm_, KVM_GET_API_VERSION, nullptr, "KVM_GET_API_VERSION");
    if (page_.api_version != KVM_API_VERSION) return false;
    std::uint32_t missing = 0;
    for (int i = 0; i < kNeededCapabilityCount; ++i) {
      if (::ioctl(kvm_, KVM_CHECK_EXTENSION, kNeededCapabilities[i].number) <= 0)
        missing |= 1U << i;
    }
    page_.missing = missing;
    return missing == 0;
  }

  bool MakeVm() {
    vm_ = Call(kvm_, KVM_CREATE_VM, nullptr, "KVM_CREATE_VM");
    if (vm_ < 0) return false;
    // Intel's KVM wants three pages for itself, outside of all guest memory.
    return ::ioctl(vm_, KVM_SET_TSS_ADDR, 0xfffbd000) == 0 || Failed("KVM_SET_TSS_ADDR");
  }

  bool MakeMemory() {
    void* memory =
        ::mmap(nullptr, kMemorySize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return Failed("mmap");
    auto* const bytes = static_cast<char*>(memory);
    const auto put = [bytes](std::uint64_t at, std::uint64_t value) {
      std::memcpy(bytes + at, &value, sizeof value);
    };
    put(kPml4, kPdpt | 3);
    put(kPdpt, kDirectory | 3);
    put(kDirectory, 0x83);  // present, writable, 2 MiB
    std::memcpy(bytes + kCode, tinderbox_probe_guest_begin,
                static_cast<std::size_t>(tinderbox_probe_guest_end - tinderbox_probe_guest_begin));
    kvm_userspace_memory_region region{};
    region.memory_size = kMemorySize;
    region.userspace_addr = reinterpret_cast<std::uintptr_t>(memory);
    return Call(vm_, KVM_SET_USER_MEMORY_REGION, &region, "KVM_SET_USER_MEMORY_REGION") >= 0;
  }

  bool MakeVcpu() {
    vcpu_ = Call(vm_, KVM_CREATE_VCPU, nullptr, "KVM_CREATE_VCPU");
    if (vcpu_ < 0) return false;
    const int size = Call(kvm_, KVM_GET_VCPU_MMAP_SIZE, nullptr, "KVM_GET_VCPU_MMAP_SIZE");
    if (size < static_cast<int>(sizeof(kvm_run))) return false;
    void* run = ::mmap(nullptr, static_cast<std::size_t>(size), PROT_READ | PROT_WRITE, MAP_SHARED,
                       vcpu_, 0);
    if (run == MAP_FAILED) return Failed("mmap of the vCPU");
    run_ = static_cast<kvm_run*>(run);
    return true;
  }

  // Without CPUID a guest has no XSAVE, and setting CR4.OSXSAVE faults.
  bool SetCpuid() {
    alignas(8) static char room[sizeof(CpuidHead) + 256 * sizeof(kvm_cpuid_entry2)];
    for (const std::uint32_t entries : kCpuidEntries) {
      std::memcpy(room, &entries, sizeof entries);
      if (::ioctl(kvm_, kGetSupportedCpuid, room) == 0)
        return Call(vcpu_, kSetCpuid, room, "KVM_SET_CPUID2") >= 0;
    }
    return Failed("KVM_GET_SUPPORTED_CPUID");
  }

  bool SetRegisters() {
    kvm_sregs special{};
    if (Call(vcpu_, KVM_GET_SREGS, &special, "KVM_GET_SREGS") < 0) return false;
    kvm_segment code{};
    code.limit = 0xffffffff;
    code.selector = 8;
    code.type = 11;  // execute, read, accessed
    code.present = code.s = code.l = code.g = 1;
    kvm_segment data = code;
    data.selector = 16;
    data.type = 3;  // read, write, accessed
    data.l = 0;
    data.db = 1;
    special.cs = code;
    special.ds = special.es = special.fs = special.gs = special.ss = data;
    special.cr3 = kPml4;
    special.cr4 = 0x20;        // PAE
    special.cr0 = 0x80000033;  // PG, NE, ET, MP, PE
    special.efer = 0x500;      // LMA, LME
    if (Call(vcpu_, KVM_SET_SREGS, &special, "KVM_SET_SREGS") < 0) return false;
    kvm_regs registers{};
    registers.rip = kCode;
    registers.rsi = kData;
    registers.rflags = 2;
    return Call(vcpu_, KVM_SET_REGS, &registers, "KVM_SET_REGS") >= 0;
  }

  void Loop() {
    std::uint64_t last = NowNs();
    for (int i = 0; i < kMaxExits; ++i) {
      if (Call(vcpu_, KVM_RUN, nullptr, "KVM_RUN") < 0) return;
      const std::uint64_t now = NowNs();
      const int stage = StageOfExit();
      if (stage == 0) {
        page_.exit_reason = run_->exit_reason;
        return;
      }
      if (stage == kShortLoop) page_.short_loop_ns = now - last;
      if (stage == kLongLoop) page_.long_loop_ns = now - last;
      page_.stage = stage;
      if (stage == kLongLoop) return;
      if (stage == kXsave && page_.short_loop_ns > kShortLoopLimitNs) return;
      last = NowNs();
    }
  }

  // 0 where the guest stopped for anything but reporting its next stage.
  int StageOfExit() const {
    if (run_->exit_reason != KVM_EXIT_IO || run_->io.port != kStagePort || run_->io.size != 1)
      return 0;
    const int stage = reinterpret_cast<const unsigned char*>(run_)[run_->io.data_offset];
    return stage == page_.stage + 1 ? stage : 0;
  }

  ProbePage& page_;
  int kvm_ = -1, vm_ = -1, vcpu_ = -1;
  kvm_run* run_ = nullptr;
};

}  // namespace

void RunProbeGuest(ProbePage& page) { Guest(page).Run(); }

}  // namespace tinderbox::vmm::internal
