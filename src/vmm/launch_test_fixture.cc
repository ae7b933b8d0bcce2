// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/launch_test_fixture.h"

#include <dirent.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <thread>

#include "base/id.h"
#include "sys/cgroup.h"
#include "sys/file.h"

namespace tinderbox::vmm {

using std::chrono::seconds;

namespace {

std::size_t CountMounts() {
  const auto text = sys::ReadFile("/proc/self/mountinfo").value_or("");
  return static_cast<std::size_t>(std::ranges::count(text, '\n'));
}

}  // namespace

void LaunchTest::SetUp() {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  std::string pattern = "/tmp/tinderbox-launch-test-XXXXXX";
  dir_ = ::mkdtemp(pattern.data());
  group_ = "tinderbox-launch-test-" + base::RandomHex(4);
  // Several test programs run on one host at once: each test has a uid of its own.
  uid_ = 2000000 + static_cast<uid_t>(::getpid()) * 16 + static_cast<uid_t>(std::rand() % 16);
  mounts_before_ = CountMounts();
}

void LaunchTest::TearDown() {
  if (dir_.empty()) return;
  for (const auto& run_dir : run_dirs_) {
    if (auto vm = Adopt(run_dir)) {
      EXPECT_TRUE((*vm)->Kill());
    }
    const auto removed = Remove(run_dir);
    EXPECT_TRUE(removed) << removed.error().ToString();
  }
  EXPECT_EQ(Leftovers(), "");
  EXPECT_TRUE(sys::RemoveTree(dir_));
}

LaunchSpec LaunchTest::Spec(const std::vector<std::string>& arguments, const std::string& id) {
  LaunchSpec spec;
  spec.id = id;
  spec.run_dir = dir_ + "/" + id;
  spec.warden = TINDERBOX_WARDEN;
  spec.vmm = TINDERBOX_JAILED;
  spec.argv = {"jailed"};
  spec.argv.insert(spec.argv.end(), arguments.begin(), arguments.end());
  spec.uid = uid_;
  spec.gid = uid_;
  spec.cgroup = group_ + "-" + id;
  spec.limits = {.memory_bytes = 256 << 20, .cpus = 1.5, .pids = 64};
  spec.processes = true;
  run_dirs_.push_back(spec.run_dir);
  return spec;
}

std::unique_ptr<LaunchedVm> LaunchTest::Start(const LaunchSpec& spec) {
  auto launched = Launch(spec, base::Deadline::After(seconds(10)));
  if (!launched) {
    ADD_FAILURE() << launched.error().ToString();
    return nullptr;
  }
  return std::move(launched->vm);
}

std::string LaunchTest::AwaitConsole(LaunchedVm& vm, const std::string& what) {
  std::string console;
  EXPECT_TRUE(Eventually([&] {
    console = vm.ConsoleTail(1 << 20).value_or("");
    return console.find(what) != std::string::npos;
  })) << "no '"
      << what << "' in: " << console;
  return console;
}

bool LaunchTest::Eventually(const std::function<bool()>& done) {
  const auto deadline = base::Deadline::After(seconds(10));
  while (!done()) {
    if (deadline.passed()) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

std::map<std::string, std::string> LaunchTest::Status(pid_t pid) {
  std::map<std::string, std::string> fields;
  std::istringstream text(sys::ReadFile(fmt::format("/proc/{}/status", pid)).value_or(""));
  for (std::string line; std::getline(text, line);) {
    const auto colon = line.find(":\t");
    if (colon != std::string::npos) fields[line.substr(0, colon)] = line.substr(colon + 2);
  }
  return fields;
}

std::vector<pid_t> LaunchTest::ProcessesOfVm() const {
  std::vector<pid_t> pids;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    const pid_t pid = std::atoi(entry.path().filename().c_str());
    if (pid <= 0) continue;
    // Wardens run as root and carry their VM's run directory nowhere but in their cgroup.
    const auto groups = sys::ReadFile(fmt::format("/proc/{}/cgroup", pid)).value_or("");
    const auto status = Status(pid);
    const auto uid = status.find("Uid");
    // Zombies whose parent died wait for process 1 of the host, which takes its time on some hosts.
    const auto state = status.find("State");
    const auto parent = status.find("PPid");
    if (state != status.end() && state->second.starts_with("Z") && parent != status.end() &&
        parent->second != std::to_string(::getpid())) {
      continue;
    }
    if (groups.find(group_) != std::string::npos ||
        (uid != status.end() && uid->second.starts_with(fmt::format("{}\t", uid_)))) {
      pids.push_back(pid);
    }
  }
  return pids;
}

std::vector<std::string> LaunchTest::CgroupsOfVm() const {
  std::vector<std::string> found;
  for (const auto& hierarchy : sys::HostCgroups()) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(hierarchy.path, error)) {
      if (entry.path().filename().string().starts_with(group_)) found.push_back(entry.path());
    }
  }
  return found;
}

std::string LaunchTest::Leftovers() const {
  std::string text;
  for (const pid_t pid : ProcessesOfVm()) text += fmt::format("process {}\n", pid);
  for (const auto& path : CgroupsOfVm()) text += fmt::format("cgroup {}\n", path);
  for (const auto& entry : std::filesystem::directory_iterator(dir_)) {
    text += fmt::format("file {}\n", entry.path().string());
  }
  const auto mounts = sys::ReadFile("/proc/self/mountinfo").value_or("");
  if (mounts.find(dir_) != std::string::npos) text += "a mount below " + dir_ + "\n";
  return text;
}

}  // namespace tinderbox::vmm
