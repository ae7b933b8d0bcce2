// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "store/event_table.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "store/store.h"

namespace tinderbox::store {
namespace {

using base::Code;

class EventTableTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "tb-events-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    Reopen();
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  void Reopen() {
    store_.reset();
    store_ = std::move(OpenStore(dir_ + "/t.db").value());
  }
  EventRecord Event(std::int64_t at, const std::string& kind, const std::string& sandbox) {
    return {.id = "e" + std::to_string(at),
            .at = at,
            .kind = kind,
            .sandbox_id = sandbox,
            .execution_id = "x1",
            .template_id = "t1",
            .facts = R"({"a":1})"};
  }
  std::vector<std::int64_t> Times(const EventQuery& query) {
    std::vector<std::int64_t> times;
    for (const EventRecord& event : store_->Events().List(query).value()) times.push_back(event.at);
    return times;
  }

  std::string dir_;
  std::unique_ptr<Store> store_;
};

using Numbers = std::vector<std::int64_t>;

TEST_F(EventTableTest, EveryFieldSurvivesAReopening) {
  ASSERT_TRUE(store_->RecordEvent(Event(7, "created", "i1")));
  Reopen();
  const auto events = store_->Events().List({});
  ASSERT_TRUE(events);
  ASSERT_EQ(events->size(), 1u);
  const EventRecord& event = events->front();
  EXPECT_EQ(event.id, "e7");
  EXPECT_EQ(event.at, 7);
  EXPECT_EQ(event.kind, "created");
  EXPECT_EQ(event.sandbox_id, "i1");
  EXPECT_EQ(event.execution_id, "x1");
  EXPECT_EQ(event.template_id, "t1");
  EXPECT_EQ(event.facts, R"({"a":1})");
}

TEST_F(EventTableTest, AnEventGoesWithItsChangeOrNotAtAll) {
  SandboxRecord record{.id = "i1", .state = "creating"};
  ASSERT_TRUE(store_->InsertSandbox(record));
  record.state = "running";
  ASSERT_TRUE(store_->UpdateSandbox(record, "creating", Event(1, "created", "i1")));
  EXPECT_EQ(store_->UpdateSandbox(record, "paused", Event(2, "resumed", "i1")).error().code(),
            Code::kAborted);
  EXPECT_EQ(Times({}), Numbers{1});
  // Nothing of the refused change is left open: the next one is a change of its own.
  ASSERT_TRUE(store_->UpdateSandbox(record, "running"));
  ASSERT_TRUE(store_->DeleteSandbox("i1", Event(3, "killed", "i1")));
  ASSERT_TRUE(store_->DeleteSandbox("i1", Event(4, "killed", "i1")));
  Reopen();
  EXPECT_EQ(Times({.sandbox_id = "i1"}), (Numbers{3, 1}));
}

TEST_F(EventTableTest, QueriesFilterOrderAndPage) {
  for (int at = 1; at <= 6; ++at) {
    ASSERT_TRUE(
        store_->RecordEvent(Event(at, at % 2 == 0 ? "paused" : "resumed", at <= 3 ? "i1" : "i2")));
  }
  EXPECT_EQ(Times({}), (Numbers{6, 5, 4, 3, 2, 1}));
  EXPECT_EQ(Times({.sandbox_id = "", .ascending = true}), (Numbers{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(Times({.sandbox_id = "i2"}), (Numbers{6, 5, 4}));
  EXPECT_EQ(Times({.sandbox_id = "", .kinds = {"paused"}}), (Numbers{6, 4, 2}));
  EXPECT_EQ(Times({.sandbox_id = "i1", .kinds = {"paused", "resumed"}}), (Numbers{3, 2, 1}));
  EXPECT_EQ(Times({.sandbox_id = "", .offset = 4, .limit = 1}), Numbers{2});
  EXPECT_EQ(Times({.sandbox_id = "", .offset = 9}), Numbers{});
  EXPECT_EQ(Times({.sandbox_id = "' OR 1=1 --"}), Numbers{});
  EXPECT_EQ(Times({.sandbox_id = "", .kinds = {"') OR 1=1 --"}}), Numbers{});
}

TEST_F(EventTableTest, ThoseOfAllAreOrderedByTimeAndThoseOfOneAsTheyWereWritten) {
  for (const int at : {5, 3, 4}) ASSERT_TRUE(store_->RecordEvent(Event(at, "updated", "i1")));
  ASSERT_TRUE(store_->RecordEvent(Event(2, "updated", "i2")));
  EXPECT_EQ(Times({}), (Numbers{5, 4, 3, 2}));
  EXPECT_EQ(Times({.sandbox_id = "", .ascending = true}), (Numbers{2, 3, 4, 5}));
  EXPECT_EQ(Times({.sandbox_id = "i1"}), (Numbers{4, 3, 5}));
  EXPECT_EQ(Times({.sandbox_id = "i1", .ascending = true}), (Numbers{5, 3, 4}));
}

TEST_F(EventTableTest, OldOnesAndTooManyGo) {
  for (int at = 1; at <= 10; ++at) ASSERT_TRUE(store_->RecordEvent(Event(at, "updated", "i1")));
  EXPECT_EQ(store_->Events().Prune(4, 100).value(), 3u);
  EXPECT_EQ(Times({.sandbox_id = "", .ascending = true}), (Numbers{4, 5, 6, 7, 8, 9, 10}));
  EXPECT_EQ(store_->Events().Prune(0, 2).value(), 5u);
  EXPECT_EQ(Times({}), (Numbers{10, 9}));
  EXPECT_EQ(store_->Events().Prune(0, 2).value(), 0u);
  EXPECT_EQ(store_->Events().Prune(100, 2).value(), 2u);
  EXPECT_EQ(store_->Events().Prune(100, 2).value(), 0u) << "of an empty table";
}

TEST_F(EventTableTest, SandboxesOfATemplateAreCountedForEver) {
  EXPECT_EQ(*store_->Events().SpawnsOf("t1"), Spawns{});
  ASSERT_TRUE(store_->RecordEvent(Event(7, "created", "i1")));
  ASSERT_TRUE(store_->RecordEvent(Event(8, "paused", "i1")));
  // If two events come at once, the earlier one may be written later.
  ASSERT_TRUE(store_->RecordEvent(Event(10, "created", "i2")));
  ASSERT_TRUE(store_->RecordEvent(Event(9, "created", "i3")));
  EventRecord other = Event(11, "created", "i4");
  other.template_id = "t2";
  ASSERT_TRUE(store_->RecordEvent(other));
  ASSERT_TRUE(store_->Events().Prune(1000, 0));
  Reopen();
  EXPECT_EQ(*store_->Events().SpawnsOf("t1"), (Spawns{.count = 3, .last_at = 10}));
  ASSERT_TRUE(store_->Events().ForgetSpawns("t1"));
  ASSERT_TRUE(store_->Events().ForgetSpawns("t1"));
  EXPECT_EQ(*store_->Events().SpawnsOf("t1"), Spawns{});
  EXPECT_EQ(*store_->Events().SpawnsOf("t2"), (Spawns{.count = 1, .last_at = 11}));
}

TEST_F(EventTableTest, ASandboxIsCountedWithTheChangeOrNotAtAll) {
  SandboxRecord record;
  record.id = "i1";
  record.state = "creating";
  ASSERT_TRUE(store_->InsertSandbox(record));
  record.state = "running";
  EXPECT_FALSE(store_->UpdateSandbox(record, "paused", Event(7, "created", "i1")));
  EXPECT_EQ(*store_->Events().SpawnsOf("t1"), Spawns{});
  ASSERT_TRUE(store_->UpdateSandbox(record, "creating", Event(8, "created", "i1")));
  EXPECT_EQ(*store_->Events().SpawnsOf("t1"), (Spawns{.count = 1, .last_at = 8}));
}

}  // namespace
}  // namespace tinderbox::store
