// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Saved states: captured, committed, found again, verified; and the files of VMs that start as one.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/internal/ext4.h"
#include "image/internal/template_store.h"
#include "image/internal/test_files.h"
#include "image/library.h"
#include "sys/file.h"

namespace tinderbox::image {
namespace {

using base::Code;
using ::testing::HasSubstr;

constexpr std::uint64_t kDiskBytes = 32 << 20;
constexpr std::uint32_t kMemoryMib = 16;

class SavedRootTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::geteuid(), 0u) << "these tests need root: the pool is a mounted XFS";
    LibraryOptions options;
    options.state_dir = dir_.path() + "/state";
    options.pool_bytes = 1ull << 30;
    options.reserve_bytes = 0;
    auto opened = OpenLibrary(options, {});
    ASSERT_TRUE(opened) << opened.error().ToString();
    library_ = std::move(*opened);
    const auto tree = dir_.path() + "/tree";
    ASSERT_TRUE(sys::MakeDirs(tree));
    const auto pending = library_->pool_dir() + "/tmp/base";
    ASSERT_TRUE(sys::MakeDirs(pending));
    ASSERT_TRUE(MakeExt4(tree, pending + "/disk.img", kDiskBytes));
    TemplateManifest manifest;
    manifest.info.id = TemplateStore::IdOf("base");
    manifest.info.name = "base";
    manifest.info.disk_bytes = kDiskBytes;
    manifest.info.memory_mib = kMemoryMib;
    manifest.info.created_at = "2026-01-01T00:00:00Z";
    ASSERT_TRUE(TemplateStore(library_->pool_dir()).Install(pending, manifest));
    base_ = library_->FindTemplate("base").value();
  }
  void TearDown() override {
    library_.reset();
    EXPECT_TRUE(ClosePool(dir_.path() + "/state"));
  }

  void Write(const std::string& path, off_t offset, const std::string& bytes) {
    const auto file = sys::Open(path, O_WRONLY).value();
    ASSERT_EQ(::pwrite(file.get(), bytes.data(), bytes.size(), offset),
              static_cast<ssize_t>(bytes.size()));
  }
  // A running sandbox's state, as the layers above save it.
  Template Save(const std::string& sandbox, SavedKind kind, const std::string& id, bool seal) {
    EXPECT_TRUE(library_->MakeVmFiles(base_, {.sandbox_id = sandbox, .memory_mib = kMemoryMib}));
    Write(library_->pool_dir() + "/sandboxes/" + sandbox + "/disk.img", kDiskBytes / 2, sandbox);
    auto capture = library_->BeginCapture();
    EXPECT_TRUE(capture) << capture.error().ToString();
    EXPECT_TRUE(sys::WriteFileAtomic(capture->memory(), "", 0444));
    EXPECT_EQ(::truncate(capture->memory().c_str(), off_t{kMemoryMib} << 20), 0);
    Write(capture->memory(), 4096, "memory of " + sandbox);
    EXPECT_TRUE(sys::WriteFileAtomic(capture->state(), "state of " + sandbox, 0444));
    EXPECT_TRUE(library_->CaptureDisk(*capture, sandbox));
    Template info = base_;
    info.kind = kind;
    info.id = id;
    info.name.clear();
    info.vm = SavedVm{.vmm = "qemu", .vmm_version = "7.2", .accelerator = "tcg", .cpu = "max"};
    info.source_sandbox = sandbox;
    info.parent = base_.id;
    info.agent_token = "token of " + sandbox;
    auto saved = library_->Commit(std::move(*capture), info, seal);
    EXPECT_TRUE(saved) << saved.error().ToString();
    return saved.value_or(Template{});
  }
  std::size_t Captures() {
    return library_->SweepCaptures().value();  // of those that nothing removed
  }

  const testing::TempDir dir_;
  std::unique_ptr<Library> library_;
  Template base_;
};

TEST_F(SavedRootTest, ASnapshotIsFoundRestoredAndRemoved) {
  const Template saved = Save("one", SavedKind::kSnapshot, "snap1", true);
  EXPECT_EQ(Captures(), 0u);
  ASSERT_TRUE(library_->RenameSnapshot("snap1", "mine:v1"));
  const auto found = library_->FindTemplate("mine:v1");
  ASSERT_TRUE(found) << found.error().ToString();
  EXPECT_EQ(found->id, "snap1");
  EXPECT_EQ(found->vm, saved.vm);
  EXPECT_EQ(found->agent_token, "token of one");
  EXPECT_EQ(found->parent, base_.id);
  EXPECT_TRUE(library_->VerifyTemplate("snap1"));
  EXPECT_EQ(
      sys::Stat(saved.disk.substr(0, saved.disk.rfind('/')) + "/manifest.json")->st_mode & 077, 0u)
      << "it holds a token";

  const auto files =
      library_->MakeVmFiles(*found, {.sandbox_id = "two", .uid = 7, .gid = 7, .restore = true});
  ASSERT_TRUE(files) << files.error().ToString();
  // All that begin as the same share one file, and with it the host's page cache.
  EXPECT_EQ(sys::Stat(files->memory_base)->st_ino, sys::Stat(saved.memory)->st_ino);
  EXPECT_EQ(sys::Stat(files->memory_base)->st_uid, 0u);
  EXPECT_EQ(sys::Stat(files->memory_base)->st_mode & 07777, 0444u);
  EXPECT_EQ(sys::Stat(files->disk)->st_uid, 7u);
  EXPECT_THAT(sys::ReadFile(files->disk, kDiskBytes).value(), HasSubstr("one"));

  // What runs as it is not touched by its removal.
  ASSERT_TRUE(library_->RemoveTemplate("snap1"));
  EXPECT_EQ(library_->FindTemplate("snap1").error().code(), Code::kNotFound);
  EXPECT_THAT(sys::ReadFile(files->memory_base, 64 << 20).value(), HasSubstr("memory of one"));
}

TEST_F(SavedRootTest, AVmThatWritesItsMemoryFileGetsACopy) {
  const Template saved = Save("one", SavedKind::kSnapshot, "snap1", true);
  const auto files = library_->MakeVmFiles(
      saved, {.sandbox_id = "two", .uid = 7, .gid = 7, .restore = true, .own_memory = true});
  ASSERT_TRUE(files) << files.error().ToString();
  EXPECT_NE(sys::Stat(files->memory_base)->st_ino, sys::Stat(saved.memory)->st_ino);
  EXPECT_EQ(sys::Stat(files->memory_base)->st_uid, 7u);
  Write(files->memory_base, 4096, "changed");
  EXPECT_TRUE(library_->VerifyTemplate("snap1"));
}

TEST_F(SavedRootTest, APausedSandboxKeepsItsStateAndNotItsVmsFiles) {
  const Template saved = Save("one", SavedKind::kPaused, "one", false);
  ASSERT_TRUE(library_->RemoveVmFiles("one"));
  EXPECT_FALSE(sys::Exists(library_->pool_dir() + "/sandboxes/one/disk.img"));
  const auto found = library_->FindPaused("one");
  ASSERT_TRUE(found) << found.error().ToString();
  EXPECT_THAT(sys::ReadFile(found->disk, kDiskBytes).value(), HasSubstr("one"));
  // Unsealed until somebody reads all of it.
  EXPECT_EQ(library_->VerifySaved(*found).error().code(), Code::kFailedPrecondition);
  ASSERT_TRUE(library_->Seal(*found));
  EXPECT_TRUE(library_->VerifySaved(*found));
  ASSERT_TRUE(library_->RemovePaused("one"));
  EXPECT_TRUE(library_->RemovePaused("one"));
  EXPECT_EQ(library_->FindPaused("one").error().code(), Code::kNotFound);
  EXPECT_FALSE(library_->Seal(*found));
}

TEST_F(SavedRootTest, ACopyOfAPausedStateOutlivesIt) {
  const Template paused = Save("one", SavedKind::kPaused, "one", false);
  auto capture = library_->BeginCapture();
  ASSERT_TRUE(capture);
  ASSERT_TRUE(library_->CaptureCopy(*capture, paused));
  Template info = paused;
  info.kind = SavedKind::kSnapshot;
  info.id = "snap2";
  ASSERT_TRUE(library_->Commit(std::move(*capture), info, true));
  ASSERT_TRUE(library_->RemoveSandbox("one"));
  EXPECT_TRUE(library_->VerifyTemplate("snap2"));
}

TEST_F(SavedRootTest, ABitFlippedAnywhereIsFoundAndNamed) {
  const Template saved = Save("one", SavedKind::kSnapshot, "snap1", true);
  const std::string manifest = saved.disk.substr(0, saved.disk.rfind('/')) + "/manifest.json";
  const auto refused_at_load = [&](const std::string& file) {
    const auto files = library_->MakeVmFiles(saved, {.sandbox_id = "two", .restore = true});
    ASSERT_FALSE(files) << file;
    EXPECT_EQ(files.error().code(), Code::kDataLoss) << files.error().ToString();
    EXPECT_THAT(files.error().message(), HasSubstr(file));
    EXPECT_FALSE(sys::Exists(library_->pool_dir() + "/sandboxes/two")) << "something is left";
  };
  const auto flip = [&](const std::string& path, off_t at) {
    const auto file = sys::Open(path, O_RDWR).value();
    char byte = 0;
    ASSERT_EQ(::pread(file.get(), &byte, 1, at), 1);
    byte = static_cast<char>(byte ^ 1);
    ASSERT_EQ(::pwrite(file.get(), &byte, 1, at), 1);
  };
  for (const auto& [path, at] : {std::pair<std::string, off_t>{saved.memory, 4100},
                                 {saved.memory, 12 << 20},
                                 {saved.disk, kDiskBytes / 2 + 1},
                                 {saved.disk, kDiskBytes - 1},
                                 {saved.state, 3}}) {
    flip(path, at);
    const auto verified = library_->VerifyTemplate("snap1");
    ASSERT_FALSE(verified) << path << " at " << at;
    EXPECT_EQ(verified.error().code(), Code::kDataLoss);
    EXPECT_THAT(verified.error().message(), HasSubstr(path));
    if (path == saved.state) refused_at_load(path);
    flip(path, at);
    EXPECT_TRUE(library_->VerifyTemplate("snap1"));
  }
  for (off_t at : {off_t{2}, off_t{40}, off_t{200}}) {
    flip(manifest, at);
    refused_at_load(manifest);
    EXPECT_EQ(library_->VerifyTemplate("snap1").error().code(), Code::kDataLoss);
    flip(manifest, at);
  }
  ASSERT_EQ(::truncate(saved.memory.c_str(), (off_t{kMemoryMib} << 20) - 4096), 0);
  refused_at_load(saved.memory);
}

TEST_F(SavedRootTest, WhatIsNotCommittedIsGone) {
  std::string dir;
  {
    auto capture = library_->BeginCapture();
    ASSERT_TRUE(capture);
    dir = capture->dir();
    EXPECT_TRUE(sys::Exists(dir));
  }
  EXPECT_FALSE(sys::Exists(dir));
  // As a daemon that was killed leaves it.
  ASSERT_TRUE(sys::MakeDirs(library_->pool_dir() + "/captures/left"));
  Save("one", SavedKind::kFork, "fork1", false);
  EXPECT_EQ(library_->SweepCaptures().value(), 2u);
  EXPECT_EQ(library_->SweepCaptures().value(), 0u);
}

TEST_F(SavedRootTest, TheLatestMemoryStaysWithinReach) {
  const Template saved = Save("one", SavedKind::kSnapshot, "snap1", true);
  const auto kept = library_->KeepMemory("one", saved.memory);
  ASSERT_TRUE(kept) << kept.error().ToString();
  ASSERT_TRUE(library_->RemoveTemplate("snap1"));
  EXPECT_THAT(sys::ReadFile(*kept, 64 << 20).value(), HasSubstr("memory of one"));
  ASSERT_TRUE(library_->RemoveVmFiles("one"));
  EXPECT_FALSE(sys::Exists(*kept));
}

}  // namespace
}  // namespace tinderbox::image
