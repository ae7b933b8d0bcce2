// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/event_record.h"

#include <gtest/gtest.h>

#include <set>

namespace tinderbox::sandbox {
namespace {

store::SandboxRecord Record() {
  store::SandboxRecord record;
  record.id = "i1";
  record.template_id = "t1";
  record.metadata = {{"owner", "é \"\n"}};
  record.cpus = 2;
  record.memory_mib = 512;
  BeginExecution(record);
  return record;
}

TEST(EventRecord, EveryFactComesBackAsItWasWritten) {
  const store::SandboxRecord record = Record();
  const Sandbox sandbox(record);
  const Event::Execution life{
      .started_at_ms = record.execution_at, .ran_ms = 1500, .cpus = 2, .memory_mib = 512};
  const Event event{.kind = EventKind::kPaused,
                    .detail = "memory",
                    .end_at_ms = 0,
                    .snapshot_id = "s1",
                    .execution = life};
  const store::EventRecord written = EventOf(sandbox, record, event);
  EXPECT_EQ(written.kind, "paused");
  const Event read = ReadEvent(written);
  EXPECT_EQ(read.id.size(), 36u);
  EXPECT_NEAR(static_cast<double>(read.at_ms), static_cast<double>(NowMs()), 5000);
  EXPECT_EQ(read.kind, EventKind::kPaused);
  EXPECT_EQ(read.sandbox_id, "i1");
  EXPECT_EQ(read.execution_id, record.execution_id);
  EXPECT_EQ(read.template_id, "t1");
  EXPECT_EQ(read.metadata, record.metadata);
  EXPECT_EQ(read.detail, "memory");
  EXPECT_EQ(read.end_at_ms, 0) << "no end is not the same as nothing said";
  EXPECT_EQ(read.snapshot_id, "s1");
  EXPECT_EQ(read.execution, life);
  EXPECT_FALSE(ReadEvent(EventOf(sandbox, record, {})).end_at_ms);
}

TEST(EventRecord, EachLifeHasAnIdOfItsOwn) {
  std::set<std::string> ids;
  for (int i = 0; i < 3; ++i) ids.insert(Record().execution_id);
  EXPECT_EQ(ids.size(), 3u);
}

TEST(EventRecord, ALifeOfWhichNothingIsRecordedBeganWithItsSandbox) {
  store::SandboxRecord record = Record();
  record.execution_at = 0;
  record.started_at = NowMs() - 2000;
  EXPECT_EQ(ExecutionOf(record).started_at_ms, record.started_at);
  EXPECT_GE(ExecutionOf(record).ran_ms, 2000);
  record.started_at = NowMs() + 100'000;
  EXPECT_EQ(ExecutionOf(record).ran_ms, 0) << "the clock was set back";
}

TEST(EventRecord, FactsThatCannotBeReadLeaveTheEvent) {
  for (const char* facts : {"", "{", "[]", R"({"metadata":1,"detail":2,"endAt":"x"})",
                            R"({"execution":{"ranMs":1e99,"cpus":-1}})"}) {
    const Event event = ReadEvent({.id = "e1", .at = 7, .kind = "killed", .facts = facts});
    EXPECT_EQ(event.id, "e1") << facts;
    EXPECT_EQ(event.kind, EventKind::kKilled) << facts;
  }
}

TEST(EventRecord, KindsAreNamedAsE2bNamesThem) {
  for (const char* name : {"created", "paused", "resumed", "updated", "checkpointed", "killed"}) {
    EXPECT_EQ(EventKindName(ParseEventKind(name).value()), name);
  }
  EXPECT_FALSE(ParseEventKind("CREATED"));
  EXPECT_FALSE(ParseEventKind(""));
}

}  // namespace
}  // namespace tinderbox::sandbox
