// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/library.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <utility>

#include "base/id.h"
#include "base/log.h"
#include "image/internal/base_rootfs.h"
#include "image/internal/directory.h"
#include "image/internal/ext4.h"
#include "image/internal/kernel_store.h"
#include "image/internal/pool.h"
#include "image/internal/template_store.h"
#include "image/internal/workspace.h"
#include "sys/file.h"
#include "sys/reflink.h"

namespace tinderbox::image {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::uint64_t kRoomOfTemplate = 1ull << 30;
// A clone itself needs next to nothing; this is for what its sandbox writes first.
constexpr std::uint64_t kRoomOfClone = 16ull << 20;

Result<> RequireRoot() {
  if (::geteuid() == 0) return {};
  return std::unexpected(base::Error(Code::kPermissionDenied, "open image library: not root")
                             .WithRemedy("Run this as root (sudo)."));
}

Progress OrSilent(const Progress& progress) {
  return progress ? progress : [](std::string_view) {};
}

std::string Now() {
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(now));
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
  Result<std::string> CloneDisk(const Template& source, const std::string& sandbox_id, unsigned uid,
                                unsigned gid) override;
  Result<> RemoveSandbox(const std::string& sandbox_id) override;
  Result<std::vector<std::string>> SandboxDirs() override {
    return ListDirectories(pool_.dir() + "/sandboxes");
  }

 private:
  Result<Template> BuildBase(const Workspace& workspace, const Progress& progress);
  Result<std::string> SandboxDir(const std::string& id) const;

  const std::string state_dir_;
  const BaseRecipe recipe_;
  const Pool pool_;
  KernelStore kernels_;
  const TemplateStore templates_;
};

Result<Template> LibraryImpl::PrepareBaseTemplate(const Progress& listener) {
  const Progress progress = OrSilent(listener);
  const auto workspace = TRY(Workspace::Enter(state_dir_, progress));
  const auto present = templates_.Find("base");
  if (present && present->recipe == recipe_.Hash()) {
    if (const auto disk = templates_.OpenDisk(present->info.id)) return present->info;
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
    manifest.info.created_at = Now();
    progress("writing checksums");
    TRY(templates_.Install(dir, std::move(manifest)));
    return TRY(templates_.Find("base")).info;
  };
  auto built = finish();
  static_cast<void>(sys::RemoveTree(pending));
  return built;
}

Result<std::string> LibraryImpl::SandboxDir(const std::string& id) const {
  if (!base::IsValidVmId(id)) {
    return Fail(Code::kInvalidArgument, fmt::format("name a sandbox '{}': bad id", id));
  }
  return fmt::format("{}/sandboxes/{}", pool_.dir(), id);
}

Result<std::string> LibraryImpl::CloneDisk(const Template& source, const std::string& sandbox_id,
                                           unsigned uid, unsigned gid) {
  const auto dir = TRY(SandboxDir(sandbox_id));
  TRY(pool_.EnsureRoom(kRoomOfClone));
  const auto from = TRY(templates_.OpenDisk(source.id));
  if (::mkdir(dir.c_str(), 0700) != 0) {
    return FailErrno(errno, fmt::format("create directory '{}'", dir));
  }
  const auto path = dir + "/disk.img";
  const auto clone = [&]() -> Result<std::string> {
    const auto to = TRY(sys::Open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    TRY(sys::CloneFile(from, to));
    if (::fchown(to.get(), uid, gid) != 0) {
      return FailErrno(errno, fmt::format("set the owner of '{}'", path));
    }
    return path;
  };
  auto cloned = clone();
  if (cloned) return cloned;
  static_cast<void>(sys::RemoveTree(dir));
  return std::unexpected(std::move(cloned).error().WithContext(
      fmt::format("clone template '{}' for sandbox '{}'", source.name, sandbox_id)));
}

Result<> LibraryImpl::RemoveSandbox(const std::string& sandbox_id) {
  return sys::RemoveTree(TRY(SandboxDir(sandbox_id)));
}

}  // namespace

Result<std::unique_ptr<Library>> OpenLibrary(const LibraryOptions& options,
                                             const Progress& progress) {
  TRY(RequireRoot());
  auto pool = TRY(Pool::Open({.state_dir = options.state_dir,
                              .image_bytes = options.pool_bytes,
                              .reserve_bytes = options.reserve_bytes},
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
