// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/saved_dir.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "image/internal/checksum.h"
#include "image/internal/ext4.h"
#include "image/internal/workspace.h"
#include "sys/file.h"
#include "sys/reflink.h"

namespace tinderbox::image {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::size_t kMaxState = 16 << 20;

std::unexpected<base::Error> Wrong(const std::string& path, std::string_view why) {
  return Fail(Code::kDataLoss, fmt::format("'{}' {}", path, why));
}

Result<> CheckMemory(const Template& info) {
  const auto memory = sys::Stat(info.memory);
  if (!memory) return Wrong(info.memory, "is not there");
  const std::uint64_t wanted = std::uint64_t{info.memory_mib} << 20;
  if (!S_ISREG(memory->st_mode) || static_cast<std::uint64_t>(memory->st_size) != wanted) {
    return Wrong(info.memory, fmt::format("has {} bytes, not {}: it was cut off or replaced",
                                          memory->st_size, wanted));
  }
  return {};
}

Result<std::string> SumOfState(const std::string& path) {
  const auto text = sys::ReadFile(path, kMaxState);
  if (!text) return Wrong(path, fmt::format("cannot be read: {}", text.error().ToString()));
  return Sha256Hex(*text);
}

Result<std::string> SumOf(const std::string& path) {
  const auto file = TRY(sys::Open(path, O_RDONLY | O_NOFOLLOW));
  return SparseSum(file);
}

Result<> CompareSum(const std::string& path, const std::string& expected) {
  if (TRY_CTX(SumOf(path), fmt::format("verify '{}'", path)) == expected) return {};
  return Wrong(path, "is damaged: its checksum is another");
}

}  // namespace

Result<TemplateManifest> LoadSaved(const std::string& dir) {
  struct stat st{};
  if (::lstat(dir.c_str(), &st) != 0) return FailErrno(errno, fmt::format("open '{}'", dir));
  const std::string path = dir + "/manifest.json";
  const auto text = sys::ReadFile(path, kMaxManifestBytes);
  if (!text) return Wrong(path, fmt::format("cannot be read: {}", text.error().ToString()));
  auto manifest = TRY_CTX(ParseTemplateManifest(*text), fmt::format("'{}'", path));
  manifest.info.disk = dir + "/disk.img";
  if (manifest.info.vm) {
    manifest.info.memory = dir + "/memory.img";
    manifest.info.state = dir + "/vmm.state";
  }
  return manifest;
}

Result<> CheckSaved(const TemplateManifest& manifest) {
  const Template& info = manifest.info;
  const auto disk = sys::Open(info.disk, O_RDONLY | O_NOFOLLOW);
  if (!disk) return Wrong(info.disk, fmt::format("cannot be read: {}", disk.error().ToString()));
  if (auto checked = CheckExt4(*disk, info.disk_bytes); !checked) {
    return Wrong(info.disk, fmt::format("is damaged: {}", checked.error().ToString()));
  }
  if (!info.vm) return {};
  TRY(CheckMemory(info));
  if (TRY(SumOfState(info.state)) == manifest.state_sum) return {};
  return Wrong(info.state, "is damaged: its checksum is another");
}

Result<> VerifySavedDir(const TemplateManifest& manifest) {
  TRY(CheckSaved(manifest));
  const Template& info = manifest.info;
  if (manifest.disk_sum.empty() || (info.vm && manifest.memory_sum.empty())) {
    return std::unexpected(
        base::Error(Code::kFailedPrecondition, fmt::format("'{}' has no checksums yet", info.disk))
            .WithRemedy("They are being computed: ask again in a while."));
  }
  TRY(CompareSum(info.disk, manifest.disk_sum));
  if (info.vm) TRY(CompareSum(info.memory, manifest.memory_sum));
  return {};
}

Result<> FinishSaved(const std::string& dir, TemplateManifest& manifest, bool seal, bool durable) {
  const std::string disk = dir + "/disk.img";
  const std::string memory = dir + "/memory.img";
  const std::string state = dir + "/vmm.state";
  if (::chmod(disk.c_str(), 0400) != 0) return FailErrno(errno, fmt::format("finish '{}'", disk));
  if (durable) {
    TRY(SyncPath(disk));
    if (manifest.info.vm) {
      TRY(SyncPath(memory));
      TRY(SyncPath(state));
    }
  }
  if (manifest.info.vm) manifest.state_sum = TRY(SumOfState(state));
  if (seal) {
    manifest.disk_sum = TRY(SumOf(disk));
    if (manifest.info.vm) manifest.memory_sum = TRY(SumOf(memory));
  }
  // It holds the token that the guest's agent demands.
  return sys::WriteFileAtomic(dir + "/manifest.json", ToJson(manifest), 0600);
}

Result<> SealSaved(const std::string& dir) {
  const auto lock = TRY(sys::Open(dir, O_RDONLY | O_DIRECTORY));
  auto manifest = TRY(LoadSaved(dir));
  if (!manifest.disk_sum.empty() && (!manifest.info.vm || !manifest.memory_sum.empty())) return {};
  manifest.disk_sum = TRY(SumOf(manifest.info.disk));
  if (manifest.info.vm) manifest.memory_sum = TRY(SumOf(manifest.info.memory));
  // Through the directory that was read: another may stand in its place by now, of which this
  // would be the wrong manifest.
  struct stat read{}, now{};
  if (::fstat(lock.get(), &read) != 0 || ::lstat(dir.c_str(), &now) != 0 ||
      read.st_ino != now.st_ino) {
    return Fail(Code::kAborted, fmt::format("'{}' was replaced meanwhile", dir));
  }
  return sys::WriteFileAtomic(dir + "/manifest.json", ToJson(manifest), 0600);
}

Result<> LinkFile(const std::string& from, const std::string& to, const LinkOptions& options) {
  TRY(sys::RemoveFile(to));
  if (!options.copy) {
    if (::link(from.c_str(), to.c_str()) == 0) return {};
    return FailErrno(errno, fmt::format("link '{}' to '{}'", from, to));
  }
  const auto source = TRY(sys::Open(from, O_RDONLY | O_NOFOLLOW));
  const auto copy = TRY(sys::Open(to, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  TRY_CTX(sys::CloneFile(source, copy), fmt::format("clone '{}' to '{}'", from, to));
  if (::fchown(copy.get(), options.uid, options.gid) != 0) {
    return FailErrno(errno, fmt::format("set the owner of '{}'", to));
  }
  return {};
}

}  // namespace tinderbox::image
