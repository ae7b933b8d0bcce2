// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Databases of every earlier version.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "store/internal/migrations.h"
#include "store/store.h"

namespace tinderbox::store {
namespace {

class SchemaTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "tb-schema-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string dir_;
};

// Columns that every version has.
constexpr char kSandbox[] = R"(
INSERT INTO sandboxes (id, state, cause, template_id, template_name, started_at, end_at, memory_mib,
  cpus, disk_mib, metadata, env, access_token, allow_internet, vmm, accelerator, choice_reason, slot,
  uid, run_dir, exit_detail, timings {0})
VALUES ('i1', 'running', '', 't1', 'base', 5, 6, 512, 1, 8192, '{{"k":"v"}}', '{{}}', 'token', 1,
  'qemu', 'tcg', 'why', 3, 1900000003, '/run/x/vm/i1', '', '' {1});
INSERT INTO api_keys (hash, label, created_at) VALUES ('hash', 'label', 1);
INSERT INTO settings VALUES ('name', 'value');
)";

// Two sandboxes of template t1 were made since there are events, i1 before, and one of t2.
constexpr char kEvents[] = R"(
INSERT INTO sandbox_events (id, at, kind, sandbox_id, execution_id, template_id, facts) VALUES
  ('e1', 11, 'created', 'i2', 'x', 't1', '{}'), ('e2', 12, 'created', 'i3', 'x', 't1', '{}'),
  ('e3', 13, 'killed', 'i2', 'x', 't1', '{}'), ('e4', 14, 'created', 'i4', 'x', 't2', '{}');
)";

TEST_P(SchemaTest, IsBroughtUpToDateWithAllThatItHolds) {
  const int version = GetParam();
  const std::string path = dir_ + "/db";
  {
    auto old = internal::Database::Open(path);
    ASSERT_TRUE(old);
    const auto made = internal::MigrateTo(*old, version);
    ASSERT_TRUE(made) << made.error().ToString();
    EXPECT_EQ(*old->QueryText("PRAGMA user_version"), std::to_string(version));
    if (version > 0) {
      // The column `options` went with version 6.
      const bool options = version < 6;
      const auto filled = old->Execute(
          fmt::format(fmt::runtime(kSandbox), options ? ", options" : "", options ? ", '{}'" : ""));
      ASSERT_TRUE(filled) << filled.error().ToString();
    }
    if (version == 7 || version == 8) {
      ASSERT_TRUE(old->Execute(kEvents));
    }
    if (version >= 4) {
      ASSERT_TRUE(old->Execute("INSERT INTO volumes VALUES ('v1', 'data', 'secret', 7)"));
    }
  }
  const auto store = OpenStore(path);
  ASSERT_TRUE(store) << store.error().ToString();
  const auto sandboxes = *(*store)->ListSandboxes();
  ASSERT_EQ(sandboxes.size(), version > 0 ? 1u : 0u);
  if (version > 0) {
    EXPECT_EQ(sandboxes[0].id, "i1");
    EXPECT_EQ(sandboxes[0].metadata.at("k"), "v");
    EXPECT_EQ(sandboxes[0].run_dir, "/run/x/vm/i1");
    EXPECT_EQ(sandboxes[0].warden_pid, 0);
    EXPECT_EQ(*(*store)->Keys().List(),
              (std::vector{KeyRecord{.id = "hash", .label = "label", .created_at = 1000}}));
    EXPECT_EQ(*(*store)->GetSetting("name"), "value");
    // It can be written, and kept beside its data, like a new one.
    EXPECT_TRUE((*store)->UpdateSandbox(sandboxes[0], "running"));
    EXPECT_TRUE((*store)->ExportSandbox("i1"));
  }
  if (version > 0 && version < 9) {
    const bool events = version >= 7;
    EXPECT_EQ(*(*store)->Events().SpawnsOf("t1"),
              (events ? Spawns{.count = 3, .last_at = 12} : Spawns{.count = 1, .last_at = 5}));
    EXPECT_EQ((*store)->Events().SpawnsOf("t2")->count, events ? 1 : 0);
  }
  const auto volumes = *(*store)->ListVolumes();
  ASSERT_EQ(volumes.size(), version >= 4 ? 1u : 0u);
  if (version >= 4) EXPECT_EQ(volumes[0].token, "secret");
}

INSTANTIATE_TEST_SUITE_P(Every, SchemaTest, testing::Range(0, internal::SchemaVersion() + 1));

}  // namespace
}  // namespace tinderbox::store
