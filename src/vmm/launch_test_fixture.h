// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "vmm/launcher.h"

namespace tinderbox::vmm {

// Launches tests/programs/jailed.cc in the place of a VMM, in directories and cgroups of its own,
// and checks after each test that nothing is left of any of it.
class LaunchTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // A spec whose VMM does what `arguments` say (see tests/programs/jailed.cc).
  LaunchSpec Spec(const std::vector<std::string>& arguments, const std::string& id = "one");
  // Launches, or fails the test. The VM is killed and removed by TearDown.
  std::unique_ptr<LaunchedVm> Start(const LaunchSpec& spec);
  std::unique_ptr<LaunchedVm> StartDoing(const std::vector<std::string>& arguments) {
    return Start(Spec(arguments));
  }

  // The console once it holds `what`; fails the test after 10 s.
  static std::string AwaitConsole(LaunchedVm& vm, const std::string& what);
  // Polls until `done`; false after 10 s.
  static bool Eventually(const std::function<bool()>& done);
  // /proc/PID/status as key → value.
  static std::map<std::string, std::string> Status(pid_t pid);
  // Host pids of all processes with the test's uid.
  std::vector<pid_t> ProcessesOfVm() const;
  // Paths of all cgroups with the test's name, in every hierarchy.
  std::vector<std::string> CgroupsOfVm() const;
  // Everything that a launch could leave, as text; empty where nothing is left.
  std::string Leftovers() const;

  std::string dir_;    // of this test; run directories are below
  std::string group_;  // prefix of this test's cgroups
  uid_t uid_ = 0;

 private:
  std::size_t mounts_before_ = 0;
  std::vector<std::string> run_dirs_;
};

}  // namespace tinderbox::vmm
