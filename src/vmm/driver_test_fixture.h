// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "vmm/driver.h"
#include "vmm/launch_test_fixture.h"

namespace tinderbox::vmm {

enum class DriverKind { kFirecracker, kQemu, kFakeHttp, kFakeQmp };
std::string DriverKindName(DriverKind kind);
inline bool IsFake(DriverKind kind) {
  return kind == DriverKind::kFakeHttp || kind == DriverKind::kFakeQmp;
}

// Launches tiny guests (tests/guests) by a driver. LaunchTest, below it, ends every VM after each
// test and fails where anything is left of one.
class DriverTest : public LaunchTest {
 protected:
  void SetUp() override;
  void TearDown() override;

  static base::Deadline Soon() { return base::Deadline::After(std::chrono::seconds(10)); }

  // The driver of that kind, opened once per test program; null, after a GTEST_SKIP with the true
  // reason, where this host cannot have it.
  Driver* Open(DriverKind kind);

  // A spec for the tiny guest of that name. To a fake it is a script, to which `faults` are added.
  VmSpec GuestSpec(DriverKind kind, const std::string& guest, const std::string& faults = "",
                   const std::string& id = "one");
  // Launches, or fails the test and yields null.
  std::unique_ptr<Vm> Begin(Driver& driver, const VmSpec& spec);
  // Whether nothing at all is left of that spec's VM.
  void ExpectNothingLeft(const VmSpec& spec);
  // The last number of a counter's last whole line; 0 where it has not begun.
  static int LastCount(Vm& vm);
  // A file of this test's own with that content; its path.
  std::string WriteFile(const std::string& name, const std::string& content);

  std::string files_;  // where WriteFile writes
};

}  // namespace tinderbox::vmm
