// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/driver_test_fixture.h"

#include <fmt/format.h>

#include <cstdlib>
#include <map>

#include "sys/file.h"
#include "sys/tool.h"
#include "vmm/drivers.h"
#include "vmm/fake/fake_driver.h"
#include "vmm/host_facts.h"

namespace tinderbox::vmm {

using base::Result;

namespace {

// As tools/get-firecracker finds it: configured, on PATH, or fetched.
Result<std::string> FirecrackerPath() {
  sys::ToolSpec tool;
  tool.argv = {TINDERBOX_GET_FIRECRACKER};
  if (const char* configured = std::getenv("TINDERBOX_FIRECRACKER"))
    tool.env = {fmt::format("TINDERBOX_FIRECRACKER={}", configured)};
  tool.deadline = base::Deadline::After(std::chrono::seconds(300));
  sys::ToolResult result = TRY(sys::RunTool(tool));
  if (result.exit_code != 0) return base::Fail(base::Code::kNotFound, result.error_tail);
  return result.output.substr(0, result.output.find('\n'));
}

Result<std::unique_ptr<Driver>> OpenKind(DriverKind kind) {
  const DriverOptions options = {.warden = TINDERBOX_WARDEN, .kvm = {}};
  if (kind == DriverKind::kFirecracker) {
    const std::string path = TRY(FirecrackerPath());
    return OpenFirecracker(path, options);
  }
  if (kind == DriverKind::kQemu) {
    const auto path = TRY(FindQemu());
    if (!path) return base::Fail(base::Code::kNotFound, "qemu-system-x86_64 is not installed");
    return OpenQemu(*path, options);
  }
  return fake::MakeDriver(
      kind == DriverKind::kFakeQmp ? fake::Protocol::kQmp : fake::Protocol::kFirecracker,
      {.fake_vmm = TINDERBOX_FAKE_VMM, .warden = TINDERBOX_WARDEN}, TRY(MeasureHost()));
}

}  // namespace

std::string DriverKindName(DriverKind kind) {
  switch (kind) {
    case DriverKind::kFirecracker: return "Firecracker";
    case DriverKind::kQemu: return "Qemu";
    case DriverKind::kFakeHttp: return "FakeHttp";
    case DriverKind::kFakeQmp: return "FakeQmp";
  }
  return "Unknown";
}

void DriverTest::SetUp() {
  LaunchTest::SetUp();
  if (IsSkipped()) return;
  // Not below dir_, of which LaunchTest counts every file as left over.
  std::string pattern = "/tmp/tinderbox-driver-test-XXXXXX";
  files_ = ::mkdtemp(pattern.data());
}

void DriverTest::TearDown() {
  LaunchTest::TearDown();
  if (files_.empty()) return;
  EXPECT_TRUE(sys::RemoveTree(files_));
}

Driver* DriverTest::Open(DriverKind kind) {
  static std::map<DriverKind, Result<std::unique_ptr<Driver>>> drivers;
  auto found = drivers.find(kind);
  if (found == drivers.end()) found = drivers.emplace(kind, OpenKind(kind)).first;
  if (found->second) return found->second->get();
  [&] { GTEST_SKIP() << found->second.error().ToString(); }();
  return nullptr;
}

VmSpec DriverTest::GuestSpec(DriverKind kind, const std::string& guest, const std::string& faults,
                             const std::string& id) {
  const LaunchSpec launch = Spec({}, id);  // names, and TearDown's attention
  VmSpec spec;
  spec.id = launch.id;
  spec.run_dir = launch.run_dir;
  spec.kernel = fmt::format("{}/{}", TINDERBOX_GUESTS, guest);
  spec.cmdline = "tinderbox-test";
  spec.memory_mib = 32;
  spec.uid = launch.uid;
  spec.gid = launch.gid;
  spec.cgroup = launch.cgroup;
  spec.limits = {.memory_bytes = 512 << 20, .cpus = 2, .pids = 128};
  if (IsFake(kind))
    spec.initrd = WriteFile(id + ".script", fmt::format("guest {}\n{}\n", guest, faults));
  return spec;
}

std::unique_ptr<Vm> DriverTest::Begin(Driver& driver, const VmSpec& spec) {
  auto vm = driver.Launch(spec, Soon());
  if (vm) return std::move(*vm);
  ADD_FAILURE() << vm.error().ToString();
  return nullptr;
}

void DriverTest::ExpectNothingLeft(const VmSpec& spec) {
  EXPECT_FALSE(sys::Exists(spec.run_dir)) << spec.run_dir;
  EXPECT_EQ(Leftovers(), "");
}

int DriverTest::LastCount(Vm& vm) {
  const std::string console = vm.process().ConsoleTail(4096).value_or("");
  const auto end = console.rfind('\n');
  if (end == std::string::npos) return 0;
  const auto begin = console.rfind("count ", end);
  return begin == std::string::npos ? 0 : std::atoi(console.c_str() + begin + 6);
}

std::string DriverTest::WriteFile(const std::string& name, const std::string& content) {
  std::string path = fmt::format("{}/{}", files_, name);
  const auto written = sys::WriteFileAtomic(path, content);
  EXPECT_TRUE(written) << written.error().ToString();
  return path;
}

}  // namespace tinderbox::vmm
