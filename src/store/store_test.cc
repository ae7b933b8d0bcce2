// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "store/store.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <thread>

#include "store/internal/migrations.h"

namespace tinderbox::store {
namespace {

using base::Code;

class StoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "tb-store-XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    dir_ = pattern;
    path_ = dir_ + "/t.db";
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::unique_ptr<Store> Open() {
    auto store = OpenStore(path_);
    EXPECT_TRUE(store.has_value()) << store.error().ToString();
    return store ? std::move(*store) : nullptr;
  }
  void Sql(const std::string& text) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
    EXPECT_EQ(sqlite3_exec(db, text.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(db);
    sqlite3_close(db);
  }

  std::string dir_;
  std::string path_;
};

TEST_F(StoreTest, VolumesHaveNamesOfTheirOwn) {
  auto store = Open();
  const VolumeRecord a{.id = "a1", .name = "data", .token = "t", .created_at = 1764000000123};
  ASSERT_TRUE(store->InsertVolume(a));
  EXPECT_EQ(store->InsertVolume({.id = "a2", .name = "data"}).error().code(),
            base::Code::kAlreadyExists);
  ASSERT_TRUE(store->InsertVolume({.id = "a3", .name = "another"}));
  store.reset();
  store = Open();
  const auto all = store->ListVolumes();
  ASSERT_TRUE(all);
  ASSERT_EQ(all->size(), 2u);
  EXPECT_EQ(all->at(0).name, "another");
  EXPECT_EQ(all->at(1).id, "a1");
  EXPECT_EQ(all->at(1).token, "t");
  EXPECT_EQ(all->at(1).created_at, 1764000000123);
  EXPECT_TRUE(store->DeleteVolume("a1"));
  EXPECT_TRUE(store->DeleteVolume("a1"));
  EXPECT_EQ(store->ListVolumes()->size(), 1u);
}

SandboxRecord Sample(const std::string& id) {
  return {.id = id,
          .state = "creating",
          .cause = "none",
          .template_id = "abc",
          .template_name = "base",
          .started_at = 1764000000123,
          .end_at = 1764000300123,
          .memory_mib = 512,
          .cpus = 2,
          .disk_mib = 10240,
          .metadata = {{"a b", "c&d=é\"\n"}, {"", "empty key"}},
          .env = {{"PATH", "/bin"}, {"X", std::string("n\0l", 3)}},
          .access_token = "token",
          .allow_internet = false,
          .allow_out = {"192.0.2.1", "198.51.100.0/24"},
          .deny_out = {"0.0.0.0/0"},
          .allow_names = {"*.example.com", "example.com"},
          .dns_servers = std::vector<std::string>{"192.0.2.53"},
          .transforms = R"({"example.com":[]})",
          .egress_proxy = {{.address = "p.test:1080", .username = "me", .password = "x"}},
          .network_pending = true,
          .traffic_token = "let me in",
          .mask_host = "localhost:${PORT}",
          .https_ports = {443, 65535},
          .volume_mounts = {{"/mnt/data", "shared"}},
          .vmm = "qemu",
          .accelerator = "tcg",
          .choice_reason = "no KVM",
          .slot = 7,
          .uid = 1900000007,
          .run_dir = "/run/x",
          .exit_code = -1,
          .exit_detail = "signal: killed",
          .timings = R"({"boot":3.5})",
          .execution_id = "0b0e7c5e-0000-4000-8000-000000000001",
          .execution_at = 1764000000456,
          .warden_pid = 4711,
          .warden_start = 123456789012,
          .boot_id = "a boot"};
}

void ExpectSame(const SandboxRecord& a, const SandboxRecord& b) {
  EXPECT_EQ(a.id, b.id);
  EXPECT_EQ(a.state, b.state);
  EXPECT_EQ(a.cause, b.cause);
  EXPECT_EQ(a.template_id, b.template_id);
  EXPECT_EQ(a.template_name, b.template_name);
  EXPECT_EQ(a.started_at, b.started_at);
  EXPECT_EQ(a.end_at, b.end_at);
  EXPECT_EQ(a.memory_mib, b.memory_mib);
  EXPECT_EQ(a.cpus, b.cpus);
  EXPECT_EQ(a.disk_mib, b.disk_mib);
  EXPECT_EQ(a.metadata, b.metadata);
  EXPECT_EQ(a.env, b.env);
  EXPECT_EQ(a.access_token, b.access_token);
  EXPECT_EQ(a.allow_internet, b.allow_internet);
  EXPECT_EQ(a.allow_out, b.allow_out);
  EXPECT_EQ(a.deny_out, b.deny_out);
  EXPECT_EQ(a.network_pending, b.network_pending);
  EXPECT_EQ(a.allow_names, b.allow_names);
  EXPECT_EQ(a.dns_servers, b.dns_servers);
  EXPECT_EQ(a.transforms, b.transforms);
  EXPECT_EQ(a.egress_proxy, b.egress_proxy);
  EXPECT_EQ(a.traffic_token, b.traffic_token);
  EXPECT_EQ(a.mask_host, b.mask_host);
  EXPECT_EQ(a.https_ports, b.https_ports);
  EXPECT_EQ(a.volume_mounts, b.volume_mounts);
  EXPECT_EQ(a.vmm, b.vmm);
  EXPECT_EQ(a.accelerator, b.accelerator);
  EXPECT_EQ(a.choice_reason, b.choice_reason);
  EXPECT_EQ(a.slot, b.slot);
  EXPECT_EQ(a.uid, b.uid);
  EXPECT_EQ(a.run_dir, b.run_dir);
  EXPECT_EQ(a.exit_code, b.exit_code);
  EXPECT_EQ(a.exit_detail, b.exit_detail);
  EXPECT_EQ(a.timings, b.timings);
  EXPECT_EQ(a.execution_id, b.execution_id);
  EXPECT_EQ(a.execution_at, b.execution_at);
  EXPECT_EQ(a.warden_pid, b.warden_pid);
  EXPECT_EQ(a.warden_start, b.warden_start);
  EXPECT_EQ(a.boot_id, b.boot_id);
}

TEST_F(StoreTest, EveryFieldSurvivesAReopening) {
  SandboxRecord sample = Sample("i1");
  ASSERT_TRUE(Open()->InsertSandbox(sample));
  auto store = Open();
  ExpectSame(store->GetSandbox("i1").value(), sample);
  sample.exit_code.reset();
  sample.state = "dead";
  sample.metadata.clear();
  ASSERT_TRUE(store->UpdateSandbox(sample, "creating"));
  ExpectSame(Open()->GetSandbox("i1").value(), sample);
}

TEST_F(StoreTest, ARecordKeptBesideItsDataIsReadAsItWas) {
  auto store = Open();
  SandboxRecord record = Sample("i1");
  ASSERT_TRUE(store->InsertSandbox(record));
  const auto json = store->ExportSandbox(record.id);
  ASSERT_TRUE(json) << json.error().ToString();
  record.cause = "changed since";
  ASSERT_TRUE(store->UpdateSandbox(record, record.state));
  const auto read = store->ParseSandbox(*json);
  ASSERT_TRUE(read) << read.error().ToString();
  ExpectSame(*read, Sample("i1"));
  EXPECT_EQ(store->GetSandbox(record.id)->cause, "changed since");  // nothing was stored
  // An earlier version wrote fewer fields.
  const auto fewer = std::regex_replace(*json, std::regex(",\"boot_id\":\"[^\"]*\""), "");
  ASSERT_NE(fewer, *json);
  EXPECT_EQ(store->ParseSandbox(fewer)->boot_id, "");
  for (const std::string bad : {"", "[]", "{}", "{\"id\":\"i1\"}", "{\"x');--\":1}"}) {
    EXPECT_EQ(store->ParseSandbox(bad).error().code(), Code::kDataLoss) << bad;
  }
  EXPECT_EQ(store->ExportSandbox("none").error().code(), Code::kNotFound);
}

TEST_F(StoreTest, AnIdIsTakenOnce) {
  auto store = Open();
  ASSERT_TRUE(store->InsertSandbox(Sample("i1")));
  EXPECT_EQ(store->InsertSandbox(Sample("i1")).error().code(), Code::kAlreadyExists);
}

TEST_F(StoreTest, WhatIsNotThereIsNotFoundAndMayBeDeleted) {
  auto store = Open();
  EXPECT_EQ(store->GetSandbox("i1").error().code(), Code::kNotFound);
  EXPECT_TRUE(store->DeleteSandbox("i1"));
  ASSERT_TRUE(store->InsertSandbox(Sample("i1")));
  ASSERT_TRUE(store->InsertSandbox(Sample("i2")));
  EXPECT_TRUE(store->DeleteSandbox("i1"));
  EXPECT_EQ(store->ListSandboxes()->size(), 1u);
}

TEST_F(StoreTest, AnUpdateComparesTheStateFirst) {
  auto store = Open();
  SandboxRecord record = Sample("i1");
  ASSERT_TRUE(store->InsertSandbox(record));
  record.state = "running";
  const auto wrong = store->UpdateSandbox(record, "paused");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code(), Code::kAborted);
  EXPECT_NE(wrong.error().message().find("creating"), std::string::npos) << wrong.error().message();
  EXPECT_EQ(store->GetSandbox("i1")->state, "creating");
  EXPECT_TRUE(store->UpdateSandbox(record, "creating"));
  EXPECT_EQ(store->GetSandbox("i1")->state, "running");
  record.id = "i2";
  EXPECT_EQ(store->UpdateSandbox(record, "running").error().code(), Code::kAborted);
}

TEST_F(StoreTest, OfManyRacersOneWins) {
  auto store = Open();
  for (int round = 0; round < 20; ++round) {
    const std::string id = "i" + std::to_string(round);
    ASSERT_TRUE(store->InsertSandbox(Sample(id)));
    std::atomic<int> winners = 0;
    std::atomic<int> losers = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&, i] {
        SandboxRecord record = Sample(id);
        record.state = "running";
        record.cause = std::to_string(i);
        const auto done = store->UpdateSandbox(record, "creating");
        if (done) {
          ++winners;
        } else if (done.error().code() == Code::kAborted) {
          ++losers;
        }
      });
    }
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(winners, 1);
    EXPECT_EQ(losers, 7);
  }
}

TEST_F(StoreTest, ThreadsDoNotDisturbEachOther) {
  auto store = Open();
  std::atomic<int> failures = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 25; ++i) {
        SandboxRecord record = Sample("i" + std::to_string(t) + "x" + std::to_string(i));
        if (!store->InsertSandbox(record)) ++failures;
        record.state = "running";
        if (!store->UpdateSandbox(record, "creating")) ++failures;
        if (!store->ListSandboxes()) ++failures;
        if (i % 2 == 0 && !store->DeleteSandbox(record.id)) ++failures;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(store->ListSandboxes()->size(), 6u * 12u);
}

TEST_F(StoreTest, KeysAreOfE2bsFormAndOnlyTheirHashIsKept) {
  auto store = Open();
  EXPECT_EQ(*store->Keys().Count(), 0u);
  const std::string key = store->Keys().Create("first", 0).value().key;
  EXPECT_TRUE(std::regex_match(key, std::regex("e2b_[0-9a-f]{40}"))) << key;
  EXPECT_NE(key, store->Keys().Create("second", 0)->key);
  EXPECT_EQ(*store->Keys().Count(), 2u);
  EXPECT_TRUE(*store->Keys().Find(key));
  EXPECT_FALSE(*store->Keys().Find(key + "0"));
  EXPECT_FALSE(*store->Keys().Find(""));
  EXPECT_FALSE(*store->Keys().Find("e2b_' OR 1=1 --"));
  store.reset();
  EXPECT_TRUE(*Open()->Keys().Find(key));
  for (const char* suffix : {"", "-wal", "-shm"}) {
    std::ifstream file(path_ + suffix, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), {});
    EXPECT_EQ(bytes.find(key), std::string::npos) << suffix;
    EXPECT_EQ(bytes.find(key.substr(4)), std::string::npos) << suffix;
  }
}

TEST_F(StoreTest, SettingsAreReplacedByName) {
  auto store = Open();
  EXPECT_FALSE(store->GetSetting("a")->has_value());
  EXPECT_TRUE(store->SetSetting("a", "1"));
  EXPECT_TRUE(store->SetSetting("a", "2"));
  EXPECT_EQ(store->GetSetting("a")->value(), "2");
}

TEST_F(StoreTest, TheFilesAreRootsAlone) {
  auto store = Open();
  ASSERT_TRUE(store->InsertSandbox(Sample("i1")));
  for (const char* suffix : {"", "-wal", "-shm"}) {
    struct stat st{};
    ASSERT_EQ(stat((path_ + suffix).c_str(), &st), 0) << suffix;
    EXPECT_EQ(st.st_mode & 0777, 0600u) << suffix;
  }
  store.reset();
  ASSERT_EQ(chmod(path_.c_str(), 0644), 0);
  Open();
  struct stat st{};
  ASSERT_EQ(stat(path_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
}

TEST_F(StoreTest, AFileThatIsNoDatabaseIsDataLossWithARemedy) {
  std::ofstream(path_) << std::string(8192, 'x');
  const auto store = OpenStore(path_);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code(), Code::kDataLoss) << store.error().ToString();
  EXPECT_NE(store.error().message().find(path_), std::string::npos) << store.error().message();
  EXPECT_FALSE(store.error().remedy().empty());
}

TEST_F(StoreTest, ADamagedPageIsDataLoss) {
  {
    auto store = Open();
    for (int i = 0; i < 200; ++i)
      ASSERT_TRUE(store->InsertSandbox(Sample("i" + std::to_string(i))));
  }
  std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(4096);
  file << std::string(16384, '\xee');
  file.close();
  const auto store = OpenStore(path_);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code(), Code::kDataLoss) << store.error().ToString();
  EXPECT_FALSE(store.error().remedy().empty());
}

TEST_F(StoreTest, ANewerVersionIsRefusedAndLeftAlone) {
  Open();
  Sql("PRAGMA user_version = 999");
  const auto store = OpenStore(path_);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code(), Code::kFailedPrecondition);
  EXPECT_NE(store.error().message().find("999"), std::string::npos);
  EXPECT_FALSE(store.error().remedy().empty());
  Sql("PRAGMA user_version = " + std::to_string(internal::SchemaVersion()));
  Open();
}

TEST_F(StoreTest, AnotherProgramsDatabaseIsRefused) {
  Sql("CREATE TABLE precious (x)");
  const auto store = OpenStore(path_);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code(), Code::kFailedPrecondition);
  Sql("SELECT * FROM precious");
}

TEST_F(StoreTest, ADirectoryThatIsNotThereIsNamed) {
  const auto store = OpenStore(dir_ + "/no/t.db");
  ASSERT_FALSE(store);
  EXPECT_NE(store.error().ToString().find("/no/t.db"), std::string::npos);
  EXPECT_FALSE(store.error().remedy().empty());
}

}  // namespace
}  // namespace tinderbox::store
