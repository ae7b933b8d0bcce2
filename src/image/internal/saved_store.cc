// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/saved_store.h"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <utility>

#include "base/id.h"
#include "image/internal/directory.h"
#include "image/internal/saved_dir.h"
#include "image/internal/workspace.h"
#include "sys/file.h"

namespace tinderbox::image {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

// A clone itself needs next to nothing; this is for what its sandbox writes first.
constexpr std::uint64_t kRoomOfVm = 16ull << 20;
// What is saved costs what was changed, and nobody knows how much that is: this lets the pool grow
// in time, and the write itself says where it was too little.
constexpr std::uint64_t kRoomOfCapture = 128ull << 20;

// What a VM's memory begins as where it boots: as large as it, and all zeros.
Result<> MakeZeros(const std::string& path, const VmFilesOptions& options) {
  TRY(sys::RemoveFile(path));
  const auto file = TRY(sys::Open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  if (::ftruncate(file.get(), static_cast<off_t>(options.memory_mib) << 20) != 0) {
    return FailErrno(errno, fmt::format("set the size of '{}'", path));
  }
  if (!options.own_memory && ::fchmod(file.get(), 0444) != 0) {
    return FailErrno(errno, fmt::format("set the mode of '{}'", path));
  }
  if (options.own_memory && ::fchown(file.get(), options.uid, options.gid) != 0) {
    return FailErrno(errno, fmt::format("set the owner of '{}'", path));
  }
  return {};
}

std::string RemedyForDamage(SavedKind kind) {
  switch (kind) {
    case SavedKind::kTemplate:
      return "Run 'tinderboxd prepare' as root to make the base template anew; build others again.";
    case SavedKind::kSnapshot: return "Remove the snapshot and take another.";
    case SavedKind::kBoot:
    case SavedKind::kPaused:
    case SavedKind::kFork: break;
  }
  return "Look for errors of the host's disk.";
}

}  // namespace

std::string Rfc3339Now() {
  using std::chrono::microseconds;
  const auto now = std::chrono::floor<microseconds>(std::chrono::system_clock::now());
  const auto second = std::chrono::floor<std::chrono::seconds>(now);
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z", fmt::gmtime(second), (now - second).count());
}

std::string DirOf(const Template& saved) { return saved.disk.substr(0, saved.disk.rfind('/')); }

std::uint64_t StoredBytes(const Template& saved) {
  std::uint64_t bytes = 0;
  for (const std::string& path : {saved.disk, saved.memory, saved.state}) {
    if (path.empty()) continue;
    if (const auto st = sys::Stat(path)) bytes += static_cast<std::uint64_t>(st->st_blocks) * 512;
  }
  return bytes;
}

Result<std::string> SavedStore::PathOf(std::string_view folder, const std::string& id) const {
  if (!base::IsValidVmId(id)) {
    return Fail(Code::kInvalidArgument, fmt::format("'{}' in '{}': bad id", id, folder));
  }
  return fmt::format("{}/{}/{}", pool_.dir(), folder, id);
}

Result<VmFiles> SavedStore::MakeVmFiles(const Template& source,
                                        const VmFilesOptions& options) const {
  const std::string dir = TRY(PathOf("sandboxes", options.sandbox_id));
  TRY(pool_.EnsureRoom(kRoomOfVm));
  const auto manifest = TRY(LoadSaved(DirOf(source)));
  if (auto checked = CheckSaved(manifest); !checked) {
    return std::unexpected(std::move(checked).error().WithRemedy(RemedyForDamage(source.kind)));
  }
  const bool made = ::mkdir(dir.c_str(), 0700) == 0;
  if (!made && errno != EEXIST) return FailErrno(errno, fmt::format("create '{}'", dir));
  VmFiles files{.disk = dir + "/disk.img",
                .memory_base = dir + "/memory.base",
                .state = {},
                .snapshot_dir = dir + "/work"};
  const LinkOptions own{.copy = true, .uid = options.uid, .gid = options.gid};
  const auto make = [&]() -> Result<> {
    TRY(LinkFile(source.disk, files.disk, own));
    TRY(sys::RemoveFile(dir + "/memory.latest"));
    TRY(sys::MakeDirs(files.snapshot_dir, 0700));
    if (!options.restore) return MakeZeros(files.memory_base, options);
    if (!source.vm) return Fail(Code::kFailedPrecondition, "it holds no memory");
    files.state = dir + "/vmm.state";
    TRY(LinkFile(source.memory, files.memory_base, options.own_memory ? own : LinkOptions{}));
    return LinkFile(source.state, files.state, {});
  };
  auto done = make();
  if (done) return files;
  static_cast<void>(made ? sys::RemoveTree(dir) : RemoveVmFiles(options.sandbox_id));
  return std::unexpected(std::move(done).error().WithContext(
      fmt::format("make the files of sandbox '{}'", options.sandbox_id)));
}

Result<> SavedStore::RemoveVmFiles(const std::string& sandbox_id) const {
  const std::string dir = TRY(PathOf("sandboxes", sandbox_id));
  for (const char* name : {"disk.img", "memory.base", "memory.latest", "vmm.state"}) {
    TRY(sys::RemoveFile(fmt::format("{}/{}", dir, name)));
  }
  return sys::RemoveTree(dir + "/work");
}

Result<std::string> SavedStore::KeepMemory(const std::string& sandbox_id,
                                           const std::string& memory) const {
  std::string path = TRY(PathOf("sandboxes", sandbox_id)) + "/memory.latest";
  TRY(LinkFile(memory, path, {}));
  return path;
}

Result<Capture> SavedStore::BeginCapture() const {
  TRY(pool_.EnsureRoom(kRoomOfCapture));
  const std::string dir = fmt::format("{}/captures/{}", pool_.dir(), base::RandomHex(8));
  if (::mkdir(dir.c_str(), 0700) != 0) return FailErrno(errno, fmt::format("create '{}'", dir));
  return Capture(dir);
}

Result<> SavedStore::FlushDisk(const std::string& sandbox_id) const {
  const std::string path = TRY(PathOf("sandboxes", sandbox_id)) + "/disk.img";
  const auto disk = TRY(sys::Open(path, O_RDONLY | O_NOFOLLOW));
  if (::fdatasync(disk.get()) != 0) return FailErrno(errno, fmt::format("flush '{}'", path));
  return {};
}

Result<> SavedStore::CaptureDisk(const Capture& capture, const std::string& sandbox_id) const {
  const std::string dir = TRY(PathOf("sandboxes", sandbox_id));
  return LinkFile(dir + "/disk.img", capture.disk(), {.copy = true});
}

Result<> SavedStore::CaptureCopy(const Capture& capture, const Template& source) const {
  TRY(LinkFile(source.disk, capture.disk(), {.copy = true}));
  if (!source.vm) return {};
  TRY(LinkFile(source.memory, capture.memory(), {}));
  return LinkFile(source.state, capture.state(), {});
}

Result<std::string> SavedStore::PlaceOf(const Template& info) const {
  switch (info.kind) {
    case SavedKind::kTemplate:
    case SavedKind::kSnapshot: return PathOf("templates", info.id);
    case SavedKind::kBoot: return PathOf("boots", info.id);
    case SavedKind::kFork: return PathOf("forks", info.id);
    case SavedKind::kPaused: return TRY(PathOf("sandboxes", info.source_sandbox)) + "/paused";
  }
  return Fail(Code::kInternal, "a saved state of no kind");
}

Result<Template> SavedStore::Commit(Capture capture, Template info, bool seal) const {
  const std::string place = TRY(PlaceOf(info));
  if (info.created_at.empty()) info.created_at = Rfc3339Now();
  const bool durable = info.kind != SavedKind::kFork;
  TemplateManifest manifest;
  manifest.info = std::move(info);
  TRY(FinishSaved(capture.dir(), manifest, seal, durable));
  TRY(ReplaceDirectory(capture.dir(), place));
  capture.Release();
  return TRY(LoadSaved(place)).info;
}

Result<Template> SavedStore::Find(const std::string& dir, std::string_view what) const {
  auto manifest = LoadSaved(dir);
  if (!manifest) return std::unexpected(std::move(manifest).error().WithContext(what));
  return std::move(manifest->info);
}

Result<Template> SavedStore::FindPaused(const std::string& sandbox_id) const {
  return Find(TRY(PathOf("sandboxes", sandbox_id)) + "/paused",
              fmt::format("find what was kept of sandbox '{}'", sandbox_id));
}

Result<> SavedStore::RemovePaused(const std::string& sandbox_id) const {
  return Trash(TRY(PathOf("sandboxes", sandbox_id)) + "/paused");
}

Result<Template> SavedStore::FindBoot(const std::string& id) const {
  return Find(TRY(PathOf("boots", id)), fmt::format("find boot snapshot '{}'", id));
}

Result<std::size_t> SavedStore::SweepCaptures() const {
  std::size_t count = 0;
  for (const char* folder : {"captures", "forks"}) {
    const std::string path = fmt::format("{}/{}", pool_.dir(), folder);
    for (const std::string& name : TRY(ListDirectories(path))) {
      TRY(sys::RemoveTree(path + "/" + name));
      ++count;
    }
  }
  return count;
}

Result<> SavedStore::Trash(const std::string& path) const {
  const auto trash = fmt::format("{}/trash/{}", pool_.dir(), base::RandomHex(8));
  if (::rename(path.c_str(), trash.c_str()) != 0) {
    if (errno == ENOENT) return {};
    return FailErrno(errno, fmt::format("remove '{}'", path));
  }
  return sys::RemoveTree(trash);
}

}  // namespace tinderbox::image
