// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/library.h"

#include <unistd.h>

#include <utility>

#include "base/log.h"
#include "image/internal/base_rootfs.h"
#include "image/internal/directory.h"
#include "image/internal/ext4.h"
#include "image/internal/kernel_store.h"
#include "image/internal/pool.h"
#include "image/internal/saved_dir.h"
#include "image/internal/saved_store.h"
#include "image/internal/template_store.h"
#include "image/internal/workspace.h"
#include "sys/file.h"

namespace tinderbox::image {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::uint64_t kRoomOfTemplate = 1ull << 30;

Result<> RequireRoot() {
  if (::geteuid() == 0) return {};
  return std::unexpected(base::Error(Code::kPermissionDenied, "open image library: not root")
                             .WithRemedy("Run this as root (sudo)."));
}

Progress OrSilent(const Progress& progress) {
  return progress ? progress : [](std::string_view) {};
}

class LibraryImpl final : public Library {
 public:
  LibraryImpl(const LibraryOptions& options, std::string state_dir, Pool pool)
      : state_dir_(std::move(state_dir)),
        recipe_{.suite = options.suite, .disk_bytes = options.base_disk_bytes},
        pool_(std::move(pool)),
        kernels_(
            {.state_dir = state_dir_, .agent = options.agent, .package = options.kernel_package}),
        templates_(pool_.dir()) {}

  const std::string& pool_dir() const override { return pool_.dir(); }
  Result<Kernel> DefaultKernel() override { return kernels_.Current(); }
  Result<Kernel> PrepareKernel(const Progress& progress) override {
    return kernels_.Prepare(OrSilent(progress));
  }
  Result<> RemoveTemplate(const std::string& id) override { return templates_.Remove(id); }
  Result<> VerifyTemplate(const std::string& id) override { return templates_.Verify(id); }
  Result<Space> PoolSpace() override { return pool_.Space(); }
  Result<> EnsureRoom(std::uint64_t bytes) override { return pool_.EnsureRoom(bytes); }

  Result<std::vector<Template>> Templates() override {
    std::vector<base::Error> damaged;
    std::vector<Template> templates;
    for (auto& manifest : TRY(templates_.List(&damaged))) {
      templates.push_back(std::move(manifest.info));
    }
    // One damaged template must not hide the others.
    for (const auto& error : damaged) {
      base::LogWarning("ignoring a damaged template", {{"error", error.ToString()}});
    }
    return templates;
  }
  Result<Template> FindTemplate(std::string_view id_or_name) override {
    return TRY(templates_.Find(id_or_name)).info;
  }

  Result<Template> PrepareBaseTemplate(const Progress& progress) override;
  Result<VmFiles> MakeVmFiles(const Template& source, const VmFilesOptions& options) override {
    return saved_.MakeVmFiles(source, options);
  }
  Result<> RemoveVmFiles(const std::string& id) override { return saved_.RemoveVmFiles(id); }
  Result<std::string> KeepMemory(const std::string& id, const std::string& memory) override {
    return saved_.KeepMemory(id, memory);
  }
  Result<Capture> BeginCapture() override { return saved_.BeginCapture(); }
  Result<> FlushDisk(const std::string& id) override { return saved_.FlushDisk(id); }
  Result<> CaptureDisk(const Capture& capture, const std::string& id) override {
    return saved_.CaptureDisk(capture, id);
  }
  Result<> CaptureCopy(const Capture& capture, const Template& source) override {
    return saved_.CaptureCopy(capture, source);
  }
  Result<Template> Commit(Capture capture, Template info, bool seal) override {
    return saved_.Commit(std::move(capture), std::move(info), seal);
  }
  Result<Template> FindPaused(const std::string& id) override { return saved_.FindPaused(id); }
  Result<> RemovePaused(const std::string& id) override { return saved_.RemovePaused(id); }
  Result<Template> FindBoot(const std::string& id) override { return saved_.FindBoot(id); }
  Result<std::vector<std::string>> BootIds() override {
    return ListDirectories(pool_.dir() + "/boots");
  }
  Result<> RemoveBoot(const std::string& id) override {
    return saved_.Trash(TRY(saved_.PathOf("boots", id)));
  }
  Result<> RemoveFork(const std::string& id) override {
    return saved_.Trash(TRY(saved_.PathOf("forks", id)));
  }
  Result<std::size_t> SweepCaptures() override { return saved_.SweepCaptures(); }
  Result<> Seal(const Template& saved) override { return SealSaved(DirOf(saved)); }
  Result<> VerifySaved(const Template& saved) override {
    return VerifySavedDir(TRY(LoadSaved(DirOf(saved))));
  }
  std::uint64_t StoredBytes(const Template& saved) override { return image::StoredBytes(saved); }
  Result<> RenameSnapshot(const std::string& id, const std::string& name) override {
    return templates_.Rename(id, name);
  }
  Result<> RemoveSandbox(const std::string& id) override {
    return sys::RemoveTree(TRY(saved_.PathOf("sandboxes", id)));
  }
  Result<std::vector<std::string>> SandboxDirs() override {
    return ListDirectories(pool_.dir() + "/sandboxes");
  }

 private:
  Result<Template> BuildBase(const Workspace& workspace, const Progress& progress);

  const std::string state_dir_;
  const BaseRecipe recipe_;
  const Pool pool_;
  KernelStore kernels_;
  const TemplateStore templates_;
  const SavedStore saved_{pool_, templates_};
};

Result<Template> LibraryImpl::PrepareBaseTemplate(const Progress& listener) {
  const Progress progress = OrSilent(listener);
  const auto workspace = TRY(Workspace::Enter(state_dir_, progress));
  const auto present = templates_.Find("base");
  if (present && present->recipe == recipe_.Hash()) {
    if (templates_.Check(present->info.id)) return present->info;
    progress("template 'base' is damaged: building it anew");
  }
  return BuildBase(workspace, progress);
}

Result<Template> LibraryImpl::BuildBase(const Workspace& workspace, const Progress& progress) {
  TRY(pool_.EnsureRoom(kRoomOfTemplate));
  const auto tree = TRY(BuildBaseRootfs(recipe_, workspace, progress));
  progress("making the disk image");
  // In the pool, not in the workspace: it is renamed into its place.
  const auto pending = pool_.dir() + "/tmp";
  TRY(sys::RemoveTree(pending));
  TRY(sys::MakeDirs(pending, 0700));
  const auto dir = pending + "/base";
  TRY(sys::MakeDirs(dir, 0700));
  const auto finish = [&]() -> Result<Template> {
    TRY(MakeExt4(tree, dir + "/disk.img", recipe_.disk_bytes));
    TemplateManifest manifest;
    manifest.recipe = recipe_.Hash();
    manifest.info.id = TemplateStore::IdOf("base");
    manifest.info.name = "base";
    manifest.info.disk_bytes = recipe_.disk_bytes;
    manifest.info.default_user = kBaseUser;
    manifest.info.default_workdir = kBaseHome;
    manifest.info.created_at = Rfc3339Now();
    progress("writing checksums");
    TRY(templates_.Install(dir, std::move(manifest)));
    return TRY(templates_.Find("base")).info;
  };
  auto built = finish();
  static_cast<void>(sys::RemoveTree(pending));
  return built;
}

}  // namespace

Capture::~Capture() {
  // What cannot be removed now is swept at the next start.
  if (!dir_.empty()) static_cast<void>(sys::RemoveTree(dir_));
}

Result<std::unique_ptr<Library>> OpenLibrary(const LibraryOptions& options,
                                             const Progress& progress) {
  TRY(RequireRoot());
  auto pool = TRY(Pool::Open({.state_dir = options.state_dir,
                              .image_bytes = options.pool_bytes,
                              .reserve_bytes = options.reserve_bytes,
                              .sparse = options.pool_sparse},
                             OrSilent(progress)));
  // The real path: what is handed out must not change its meaning with a link.
  auto state_dir = pool.dir().substr(0, pool.dir().rfind('/'));
  TRY(Workspace::SweepAbandoned(state_dir));
  return std::make_unique<LibraryImpl>(options, std::move(state_dir), std::move(pool));
}

Result<> ClosePool(const std::string& state_dir) {
  TRY(RequireRoot());
  return Pool::Close(state_dir);
}

}  // namespace tinderbox::image
