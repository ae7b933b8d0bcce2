// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The jail of a real VMM: what stands in it, and what code in it can do that is not the VMM's.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "sys/file.h"
#include "vmm/driver_test_fixture.h"
#include "vmm/drivers.h"

namespace tinderbox::vmm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

class DriverJail : public DriverTest {
 protected:
  std::string File(const std::string& name, off_t size, const VmSpec* owner = nullptr) {
    std::string path = WriteFile(name, "");
    EXPECT_EQ(::truncate(path.c_str(), size), 0);
    if (owner != nullptr) EXPECT_EQ(::chown(path.c_str(), owner->uid, owner->gid), 0);
    return path;
  }
  // VmFlags of the largest private mapping that can be written: guest memory.
  static std::string GuestMemoryFlags(pid_t pid) {
    std::istringstream smaps(sys::ReadFile(fmt::format("/proc/{}/smaps", pid)).value_or(""));
    std::string line, flags;
    long largest = 0, size = 0;
    bool writable = false;
    while (std::getline(smaps, line)) {
      // A mapping's first line begins with its addresses, the others with a name and a colon.
      const bool first = line.find('-') < line.find(' ');
      if (first) writable = line.find(" rw-p ") != std::string::npos;
      if (line.starts_with("Size:")) size = std::atol(line.c_str() + 5);
      if (!line.starts_with("VmFlags:") || !writable || size <= largest) continue;
      largest = size;
      flags = line + " ";
    }
    return flags;
  }
};

TEST_F(DriverJail, QemuHasNothingOfTheHostButWhatItNeeds) {
  Driver* const driver = Open(DriverKind::kQemu);
  if (driver == nullptr) return;
  VmSpec spec = GuestSpec(DriverKind::kQemu, "spin");
  spec.memory_base = File("zeros", off_t{32} << 20);
  const auto vm = Begin(*driver, spec);
  ASSERT_TRUE(vm);
  AwaitConsole(vm->process(), "spinning");
  const std::string root = fmt::format("/proc/{}/root", vm->process().vmm_pid());
  const auto list = [&](const std::string& folder) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(root + folder))
      names.push_back(entry.path().filename());
    return names;
  };
  EXPECT_THAT(list("/"), UnorderedElementsAre("dev", "etc", "lib", "lib64", "memory.img",
                                              "qemu-memory.so", "run", "usr", "vmlinux"));
  EXPECT_THAT(list("/usr"), UnorderedElementsAre("bin", "lib", "share"));
  EXPECT_THAT(list("/usr/bin"), ElementsAre("qemu-system-x86_64"));
  EXPECT_THAT(list("/etc"), UnorderedElementsAre("ld.so.cache", "ld.so.preload"));
  // Guest memory: neither merged with other guests' (mg) nor dumped (dd).
  const std::string flags = GuestMemoryFlags(vm->process().vmm_pid());
  EXPECT_THAT(flags, HasSubstr(" dd "));
  EXPECT_THAT(flags, Not(HasSubstr(" mg ")));
}

TEST_F(DriverJail, FirecrackersMemoryIsNotMerged) {
  Driver* const driver = Open(DriverKind::kFirecracker);
  if (driver == nullptr) return;
  const auto vm = Begin(*driver, GuestSpec(DriverKind::kFirecracker, "spin"));
  ASSERT_TRUE(vm);
  AwaitConsole(vm->process(), "spinning");
  const std::string flags = GuestMemoryFlags(vm->process().vmm_pid());
  EXPECT_THAT(flags, HasSubstr(" wr "));
  EXPECT_THAT(flags, Not(HasSubstr(" mg ")));
}

// A thread of ours in the real QEMU (tests/programs/qemu_probe.cc), as of a guest that took it
// over.
TEST_F(DriverJail, WhatCodeInsideQemuCanDo) {
  if (Open(DriverKind::kQemu) == nullptr) return;
  // The library is looked for beside the warden.
  const std::string warden = files_ + "/tinderbox-warden";
  std::filesystem::copy_file(TINDERBOX_WARDEN, warden);
  std::filesystem::copy_file(TINDERBOX_QEMU_PROBE, files_ + "/tinderbox-qemu-memory.so");
  WriteFile("tinderbox-qemu-memory.preload", "/qemu-memory.so\n");
  const auto qemu = FindQemu();
  ASSERT_TRUE(qemu && *qemu);
  const auto driver = OpenQemu(**qemu, {.warden = warden, .kvm = {}});
  ASSERT_TRUE(driver) << driver.error().ToString();
  VmSpec spec = GuestSpec(DriverKind::kQemu, "spin");
  spec.memory_base = File("zeros", off_t{32} << 20);
  // Its mode lets everyone write: the mount does not.
  ASSERT_EQ(::chmod(spec.memory_base.c_str(), 0666), 0);
  spec.rootfs = File("disk", off_t{128} << 20, &spec);
  const auto vm = Begin(**driver, spec);
  ASSERT_TRUE(vm);
  std::istringstream console(AwaitConsole(vm->process(), "probe: end: ok"));
  std::vector<std::string> found;
  for (std::string line; std::getline(console, line);) {
    if (line.starts_with("probe: ")) found.push_back(line.substr(7));
  }
  EXPECT_THAT(found, ElementsAre("vsock: EAFNOSUPPORT", "unix: ok", "io_uring: ENOSYS",
                                 "userfaultfd: ENOSYS", "memfd_secret: ENOSYS", "vmsplice: ENOSYS",
                                 "shmget: ENOSYS", "merge: EINVAL", "write to the base: EROFS",
                                 "python: ENOENT", "shell: ENOENT", "open the disk: ok",
                                 "grow the disk: EFBIG", "allocate beyond the disk: EFBIG",
                                 "reserve beyond the disk: EOPNOTSUPP",
                                 "write beyond the disk: EFBIG", "end: ok"));
  EXPECT_EQ(sys::Stat(spec.rootfs)->st_size, off_t{128} << 20);
  EXPECT_EQ(vm->State(Soon()).value(), VmState::kRunning);
}

}  // namespace
}  // namespace tinderbox::vmm
