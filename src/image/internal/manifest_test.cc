// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/manifest.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <random>
#include <string>

namespace tinderbox::image {
namespace {

using base::Code;

TemplateManifest SomeTemplate() {
  TemplateManifest manifest;
  manifest.info.id = "8fqqn5kv8xstq6ilas5t";
  manifest.info.name = "base";
  manifest.info.disk_bytes = 8ull << 30;
  manifest.info.memory_mib = 512;
  manifest.info.cpus = 2;
  manifest.info.default_user = "user";
  manifest.info.default_workdir = "/home/user";
  manifest.info.created_at = "2026-01-02T03:04:05Z";
  manifest.info.env = {{"A", "1"}, {"B", "two \"quoted\"\n"}};
  manifest.recipe = "recipe";
  manifest.disk_sum = std::string(64, 'a');
  return manifest;
}

KernelManifest SomeKernel() {
  return {.version = "6.1.0-1-cloud-amd64",
          .package = "linux-image-6.1.0-1-cloud-amd64",
          .vmlinux_bytes = 50'000'000,
          .vmlinux_sha256 = std::string(64, 'b'),
          .modules = {"virtio.ko", "virtio_blk.ko"},
          .agent_sha256 = std::string(64, 'c'),
          .initramfs_version = 1,
          .initrd_bytes = 4096};
}

TEST(ManifestTest, ReadsTemplatesThatItWrote) {
  const auto written = SomeTemplate();
  const auto read = ParseTemplateManifest(ToJson(written));
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_EQ(ToJson(*read), ToJson(written));
  EXPECT_EQ(read->info.env, written.info.env);
  EXPECT_EQ(read->info.disk_bytes, written.info.disk_bytes);
}

TEST(ManifestTest, ReadsKernelsThatItWrote) {
  const auto read = ParseKernelManifest(ToJson(SomeKernel()));
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_EQ(ToJson(*read), ToJson(SomeKernel()));
  EXPECT_EQ(read->modules, SomeKernel().modules);
}

TEST(ManifestTest, NamesTheFieldThatIsMissingOrMistyped) {
  const auto whole = boost::json::parse(ToJson(SomeTemplate())).as_object();
  for (const auto& field : whole) {
    const std::string name(field.key());
    auto without = whole;
    without.erase(name);
    const auto missing = ParseTemplateManifest(boost::json::serialize(without));
    ASSERT_FALSE(missing) << name;
    EXPECT_EQ(missing.error().code(), Code::kDataLoss);
    EXPECT_NE(missing.error().message().find("'" + name + "'"), std::string::npos);
    for (const boost::json::value& wrong :
         {boost::json::value(nullptr), boost::json::value(-1), boost::json::value(1.5),
          boost::json::value(true), boost::json::value(boost::json::object())}) {
      auto mistyped = whole;
      mistyped[name] = wrong;
      EXPECT_FALSE(ParseTemplateManifest(boost::json::serialize(mistyped))) << name;
    }
  }
}

TEST(ManifestTest, RefusesValuesThatWouldBeDangerous) {
  const auto refuses = [](auto change) {
    auto manifest = SomeTemplate();
    change(manifest);
    return !ParseTemplateManifest(ToJson(manifest));
  };
  EXPECT_FALSE(refuses([](auto&) {}));
  EXPECT_TRUE(refuses([](auto& m) { m.info.id = "../../etc"; }));
  EXPECT_TRUE(refuses([](auto& m) { m.info.name = "a/b"; }));
  EXPECT_TRUE(refuses([](auto& m) { m.info.name = ""; }));
  EXPECT_TRUE(refuses([](auto& m) { m.info.disk_bytes = 0; }));
  EXPECT_TRUE(refuses([](auto& m) { m.info.memory_mib = 0; }));
  EXPECT_TRUE(refuses([](auto& m) { m.info.cpus = 0; }));
  EXPECT_TRUE(refuses([](auto& m) { m.disk_sum = "zz"; }));
  auto kernel = SomeKernel();
  kernel.modules = {"../../../etc/passwd"};
  EXPECT_FALSE(ParseKernelManifest(ToJson(kernel)));
  kernel = SomeKernel();
  kernel.version = "..";
  EXPECT_FALSE(ParseKernelManifest(ToJson(kernel)));
}

TEST(ManifestTest, SaysThatALaterFormatNeedsALaterVersion) {
  auto object = boost::json::parse(ToJson(SomeTemplate())).as_object();
  object["formatVersion"] = kTemplateFormat + 1;
  const auto read = ParseTemplateManifest(boost::json::serialize(object));
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code(), Code::kFailedPrecondition);
  EXPECT_FALSE(read.error().remedy().empty());
}

TEST(ManifestTest, SurvivesGarbage) {
  const auto json = ToJson(SomeTemplate());
  for (std::size_t size = 0; size + 2 < json.size(); ++size) {
    EXPECT_FALSE(ParseTemplateManifest(json.substr(0, size)));
  }
  std::minstd_rand random(7);
  for (int round = 0; round < 5000; ++round) {
    auto damaged = json;
    for (int i = 0; i < 3; ++i) damaged[random() % damaged.size()] = static_cast<char>(random());
    static_cast<void>(ParseTemplateManifest(damaged));
  }
  EXPECT_FALSE(ParseTemplateManifest(std::string(1000, '[')));
  EXPECT_FALSE(ParseTemplateManifest("[]"));
}

TEST(ManifestTest, KeepsWhatMemoryWasSavedOf) {
  auto written = SomeTemplate();
  written.info.kind = SavedKind::kSnapshot;
  written.info.name = "mine:v1.2";
  written.info.source_sandbox = "i0123";
  written.info.parent = "tparent";
  written.info.vm = SavedVm{.vmm = "qemu",
                            .vmm_version = "7.2.22",
                            .accelerator = "tcg",
                            .state_format = "6.0.0",
                            .cpu = "qemu max",
                            .cpu_features = "avx avx2",
                            .tsc_khz = 2500123,
                            .kernel = "6.1.0-41-cloud-amd64"};
  written.info.agent_token = "secret";
  written.info.agent_silent = true;
  written.state_sum = std::string(64, 'a');
  const auto read = ParseTemplateManifest(ToJson(written));
  ASSERT_TRUE(read) << read.error().ToString();
  EXPECT_EQ(read->info.kind, SavedKind::kSnapshot);
  EXPECT_EQ(read->info.name, "mine:v1.2");
  EXPECT_EQ(read->info.source_sandbox, "i0123");
  EXPECT_EQ(read->info.parent, "tparent");
  EXPECT_EQ(read->info.vm, written.info.vm);
  EXPECT_EQ(read->info.agent_token, "secret");
  EXPECT_TRUE(read->info.agent_silent);
  EXPECT_EQ(read->state_sum, written.state_sum);
  EXPECT_EQ(read->memory_sum, "");
}

TEST(ManifestTest, RefusesEveryFlippedBit) {
  const auto json = ToJson(SomeTemplate());
  for (std::size_t at = 0; at + 1 < json.size(); ++at) {  // the last one is the line's end
    for (int bit = 0; bit < 8; ++bit) {
      auto flipped = json;
      flipped[at] = static_cast<char>(flipped[at] ^ (1 << bit));
      EXPECT_FALSE(ParseTemplateManifest(flipped)) << at << ": " << flipped;
    }
  }
}

TEST(ManifestTest, KnowsSnapshotNames) {
  for (const char* name : {"a", "mine:v1", "mine:1.2_x-y"}) EXPECT_TRUE(IsValidSnapshotName(name));
  for (const char* name : {"", ":", "a:", ":a", "a:b:c", "a:B", "a:/", "a/b:c"})
    EXPECT_FALSE(IsValidSnapshotName(name)) << name;
}

TEST(ManifestTest, KnowsTemplateNames) {
  for (const char* name : {"base", "a", "my-template_2", "0"})
    EXPECT_TRUE(IsValidTemplateName(name));
  for (const char* name : {"", "-a", "_a", "A", "a b", "a/b", "a:b", "..", "é"}) {
    EXPECT_FALSE(IsValidTemplateName(name)) << name;
  }
  EXPECT_FALSE(IsValidTemplateName(std::string(65, 'a')));
}

}  // namespace
}  // namespace tinderbox::image
