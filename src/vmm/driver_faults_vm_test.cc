// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// VMMs that hang, lie, answer by halves or die at any point: what the real drivers' code makes of
// it, over the fake VMM in the real jail. Each start that fails must fail in time and leave
// nothing.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "vmm/driver_test_fixture.h"

namespace tinderbox::vmm {
namespace {

using base::Code;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

struct Fault {
  DriverKind kind;
  std::string where;
  std::string what;
  Code code;
  std::string words = "";
};

class DriverFaults : public DriverTest {
 protected:
  std::unique_ptr<Vm> BeginWith(DriverKind kind, const std::string& guest,
                                const std::string& faults) {
    Driver* driver = Open(kind);
    return driver == nullptr ? nullptr : Begin(*driver, GuestSpec(kind, guest, faults));
  }
};

class DriverStartFaults : public DriverFaults, public testing::WithParamInterface<Fault> {};

TEST_P(DriverStartFaults, FailsInTimeAndLeavesNothing) {
  const Fault& fault = GetParam();
  Driver* driver = Open(fault.kind);
  ASSERT_NE(driver, nullptr);
  const VmSpec spec =
      GuestSpec(fault.kind, "spin", fmt::format("fault {} {}", fault.where, fault.what));
  const auto begin = std::chrono::steady_clock::now();
  const auto vm = driver->Launch(spec, base::Deadline::After(milliseconds(400)));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, seconds(4));
  ASSERT_FALSE(vm);
  EXPECT_EQ(vm.error().code(), fault.code) << vm.error().ToString();
  EXPECT_THAT(vm.error().ToString(), HasSubstr(fault.words));
  EXPECT_THAT(vm.error().ToString(), HasSubstr("start VM 'one'"));
  ExpectNothingLeft(spec);
}

std::vector<Fault> StartFaults() {
  std::vector<Fault> faults;
  for (const DriverKind kind : {DriverKind::kFakeHttp, DriverKind::kFakeQmp}) {
    // The socket never comes; the VMM dies before it makes it.
    faults.push_back({kind, "listen", "hang", Code::kDeadlineExceeded});
    faults.push_back({kind, "listen", "die", Code::kFailedPrecondition, "dying as told"});
  }
  for (const char* where : {"/machine-config", "/boot-source", "/entropy", "/actions"}) {
    const auto add = [&](const char* what, Code code, std::string words) {
      faults.push_back({DriverKind::kFakeHttp, where, what, code, std::move(words)});
    };
    add("hang", Code::kDeadlineExceeded, where);
    add("half", Code::kDeadlineExceeded, where);
    add("close", Code::kUnavailable, where);
    add("cut", Code::kUnavailable, where);
    add("garbage", Code::kDataLoss, where);
    add("refuse", Code::kFailedPrecondition, "as told");
    add("newline", Code::kFailedPrecondition, "broken in two");
    add("busy", Code::kUnavailable, "too many");
    add("huge", Code::kResourceExhausted, where);
    add("die", Code::kFailedPrecondition, "status 7 and said: fake: dying as told");
    add("abort", Code::kFailedPrecondition, "signal 6");
  }
  for (const char* where : {"greeting", "qmp_capabilities", "cont"}) {
    const auto add = [&](const char* what, Code code, std::string words) {
      faults.push_back({DriverKind::kFakeQmp, where, what, code, std::move(words)});
    };
    add("hang", Code::kDeadlineExceeded, "does not answer");
    add("half", Code::kDeadlineExceeded, "does not answer");
    add("close", Code::kUnavailable, "closed the connection");
    add("cut", Code::kUnavailable, "closed the connection");
    add("garbage", Code::kDataLoss, "not QMP");
    add("newline", Code::kDataLoss, "not QMP");
    add("lie", Code::kDataLoss, "");
    add("huge", Code::kResourceExhausted, "a line without end");
    add("die", Code::kFailedPrecondition, "status 7 and said: fake: dying as told");
    add("abort", Code::kFailedPrecondition, "signal 6");
  }
  for (const char* where : {"qmp_capabilities", "cont"}) {
    faults.push_back({DriverKind::kFakeQmp, where, "refuse", Code::kFailedPrecondition, "as told"});
    faults.push_back({DriverKind::kFakeQmp, where, "events", Code::kResourceExhausted, "events"});
  }
  return faults;
}

INSTANTIATE_TEST_SUITE_P(Points, DriverStartFaults, testing::ValuesIn(StartFaults()),
                         [](const auto& fault) {
                           std::string name =
                               fmt::format("{}{}_{}", DriverKindName(fault.param.kind),
                                           fault.param.where, fault.param.what);
                           for (char& c : name)
                             if (c == '/' || c == '-') c = '_';
                           return name;
                         });

// A running VM whose VMM misbehaves later: the call fails, the VM is as it was, and can be ended.
class DriverLaterFaults : public DriverFaults, public testing::WithParamInterface<Fault> {};

TEST_P(DriverLaterFaults, CallFailsAndTheVmCanStillBeEnded) {
  const Fault& fault = GetParam();
  const auto vm =
      BeginWith(fault.kind, "spin", fmt::format("fault {} {}", fault.where, fault.what));
  ASSERT_TRUE(vm);
  const auto deadline = base::Deadline::After(milliseconds(300));
  const bool asks = fault.where == "/" || fault.where == "query-status";
  if (asks) {
    const auto state = vm->State(deadline);
    ASSERT_FALSE(state);
    EXPECT_EQ(state.error().code(), fault.code) << state.error().ToString();
  } else {
    const auto paused = vm->Pause(deadline);
    ASSERT_FALSE(paused);
    EXPECT_EQ(paused.error().code(), fault.code) << paused.error().ToString();
  }
  EXPECT_FALSE(vm->process().Wait(base::Deadline::After(milliseconds(0))));
  const auto status = vm->process().Stop(seconds(5));
  ASSERT_TRUE(status) << status.error().ToString();
  EXPECT_EQ(status->stopped_by, "term");
}

INSTANTIATE_TEST_SUITE_P(
    Points, DriverLaterFaults,
    testing::Values(Fault{DriverKind::kFakeHttp, "/", "hang", Code::kDeadlineExceeded},
                    Fault{DriverKind::kFakeHttp, "/", "lie", Code::kDataLoss},
                    Fault{DriverKind::kFakeHttp, "/", "huge", Code::kResourceExhausted},
                    Fault{DriverKind::kFakeHttp, "/vm", "hang", Code::kDeadlineExceeded},
                    Fault{DriverKind::kFakeHttp, "/vm", "cut", Code::kUnavailable},
                    Fault{DriverKind::kFakeHttp, "/vm", "refuse", Code::kFailedPrecondition},
                    Fault{DriverKind::kFakeHttp, "/vm", "busy", Code::kUnavailable},
                    Fault{DriverKind::kFakeQmp, "query-status", "hang", Code::kDeadlineExceeded},
                    Fault{DriverKind::kFakeQmp, "query-status", "lie", Code::kDataLoss},
                    Fault{DriverKind::kFakeQmp, "stop", "hang", Code::kDeadlineExceeded},
                    Fault{DriverKind::kFakeQmp, "stop", "cut", Code::kUnavailable},
                    Fault{DriverKind::kFakeQmp, "stop", "refuse", Code::kFailedPrecondition}),
    [](const auto& fault) {
      std::string name =
          fmt::format("{}{}_{}", DriverKindName(fault.param.kind),
                      fault.param.where == "/" ? "_root" : fault.param.where, fault.param.what);
      for (char& c : name)
        if (c == '/' || c == '-') c = '_';
      return name;
    });

TEST_F(DriverFaults, StopSaysThatItTookAKill) {
  for (const DriverKind kind : {DriverKind::kFakeHttp, DriverKind::kFakeQmp}) {
    const auto vm = BeginWith(kind, "spin", "deaf");
    ASSERT_TRUE(vm);
    const auto begin = std::chrono::steady_clock::now();
    const auto status = vm->process().Stop(milliseconds(200));
    ASSERT_TRUE(status) << status.error().ToString();
    EXPECT_EQ(status->stopped_by, "kill");
    EXPECT_TRUE(status->signalled);
    EXPECT_GE(std::chrono::steady_clock::now() - begin, milliseconds(200));
    ASSERT_TRUE(Remove(vm->process().run_dir()));
  }
}

// The VMM dies of a request after the start: noticed as the end of the VM, with its status.
TEST_F(DriverFaults, DeathAtAPauseIsTheEnd) {
  for (const auto& [kind, where] :
       {std::pair{DriverKind::kFakeHttp, "/vm"}, std::pair{DriverKind::kFakeQmp, "stop"}}) {
    const auto vm = BeginWith(kind, "spin", fmt::format("fault {} die", where));
    ASSERT_TRUE(vm);
    EXPECT_FALSE(vm->Pause(Soon()));
    const auto status = vm->process().Wait(Soon());
    ASSERT_TRUE(status) << status.error().ToString();
    EXPECT_EQ(status->code, 7);
    EXPECT_EQ(status->stopped_by, "");
    EXPECT_EQ(vm->State(Soon()).value(), VmState::kEnded);
    ASSERT_TRUE(Remove(vm->process().run_dir()));
  }
}

}  // namespace
}  // namespace tinderbox::vmm
