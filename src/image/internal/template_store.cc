// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/template_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "base/id.h"
#include "image/internal/checksum.h"
#include "image/internal/directory.h"
#include "image/internal/ext4.h"
#include "image/internal/workspace.h"
#include "sys/file.h"

namespace tinderbox::image {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::string_view kPrepareRemedy =
    "Run 'tinderboxd prepare' as root to make the base template anew; build others again.";

base::Error NotFound(std::string_view name) {
  return base::Error(Code::kNotFound, fmt::format("template '{}' not found", name))
      .WithRemedy("List the templates there are; 'tinderboxd prepare' makes 'base'.");
}

base::Error Damaged(std::string_view id, const base::Error& why) {
  return base::Error(Code::kDataLoss,
                     fmt::format("template '{}' is damaged: {}", id, why.ToString()))
      .WithRemedy(std::string(kPrepareRemedy));
}

}  // namespace

std::string TemplateStore::IdOf(std::string_view name) {
  // 20 characters of [a-z0-9] out of the name's hash: E2B's form of a template id.
  constexpr std::string_view kDigits = "abcdefghijklmnopqrstuvwxyz0123456789";
  const auto hash = Sha256Hex(fmt::format("tinderbox template {}", name));
  std::string id;
  for (std::size_t i = 0; i < 20; ++i) {
    const auto nibble = [&](std::size_t at) {
      const char c = hash[at];
      return static_cast<std::size_t>(c <= '9' ? c - '0' : c - 'a' + 10);
    };
    id.push_back(kDigits[(nibble(2 * i) * 16 + nibble(2 * i + 1)) % kDigits.size()]);
  }
  return id;
}

std::string TemplateStore::Dir(std::string_view id) const {
  return fmt::format("{}/templates/{}", pool_, id);
}

Result<TemplateManifest> TemplateStore::Load(const std::string& id) const {
  if (!base::IsValidVmId(id)) return std::unexpected(NotFound(id));
  struct stat st{};
  if (::lstat(Dir(id).c_str(), &st) != 0) {
    if (errno == ENOENT) return std::unexpected(NotFound(id));
    return FailErrno(errno, fmt::format("open template '{}'", id));
  }
  const auto text = sys::ReadFile(Dir(id) + "/manifest.json", kMaxManifestBytes);
  if (!text) return std::unexpected(Damaged(id, text.error()));
  auto manifest = ParseTemplateManifest(*text);
  if (!manifest && manifest.error().code() == Code::kFailedPrecondition) return manifest;
  if (!manifest) return std::unexpected(Damaged(id, manifest.error()));
  if (manifest->info.id != id) {
    return std::unexpected(
        Damaged(id, base::Error(Code::kDataLoss, "its manifest is another template's")));
  }
  manifest->info.disk = Dir(id) + "/disk.img";
  return manifest;
}

Result<std::vector<TemplateManifest>> TemplateStore::List(std::vector<base::Error>* damaged) const {
  std::vector<TemplateManifest> templates;
  for (const auto& id : TRY(ListDirectories(pool_ + "/templates"))) {
    auto loaded = Load(id);
    if (loaded) {
      templates.push_back(std::move(*loaded));
    } else if (damaged != nullptr) {
      damaged->push_back(std::move(loaded).error());
    }
  }
  std::ranges::sort(templates, {}, [](const TemplateManifest& t) { return t.info.name; });
  return templates;
}

Result<TemplateManifest> TemplateStore::Find(std::string_view id_or_name) const {
  auto name = id_or_name;
  if (name.ends_with(":default")) name.remove_suffix(std::string_view(":default").size());
  std::vector<base::Error> damaged;
  for (auto& candidate : TRY(List(&damaged))) {
    if (candidate.info.name == name || candidate.info.id == name) return std::move(candidate);
  }
  // One that is there but cannot be read is known by its id only, or by our own names for ids.
  for (const auto& id : {std::string(name), IdOf(name)}) {
    auto loaded = Load(id);
    if (!loaded && loaded.error().code() != Code::kNotFound) return loaded;
  }
  return std::unexpected(NotFound(id_or_name));
}

Result<sys::UniqueFd> TemplateStore::OpenDisk(const std::string& id) const {
  const auto manifest = TRY(Load(id));
  auto disk = sys::Open(manifest.info.disk, O_RDONLY | O_NOFOLLOW);
  if (!disk) return std::unexpected(Damaged(id, disk.error()));
  if (auto checked = CheckExt4(*disk, manifest.info.disk_bytes); !checked) {
    return std::unexpected(Damaged(id, checked.error()));
  }
  return disk;
}

Result<> TemplateStore::Verify(const std::string& id) const {
  const auto disk = TRY(OpenDisk(id));
  const auto manifest = TRY(Load(id));
  const auto sum = TRY_CTX(SparseSum(disk), fmt::format("verify template '{}'", id));
  if (sum == manifest.disk_sum) return {};
  return std::unexpected(
      Damaged(id, base::Error(Code::kDataLoss, "its disk's checksum is another")));
}

Result<> TemplateStore::Install(const std::string& dir, TemplateManifest manifest) const {
  const auto path = dir + "/disk.img";
  {
    const auto disk = TRY(sys::Open(path, O_RDONLY | O_NOFOLLOW));
    TRY(CheckExt4(disk, manifest.info.disk_bytes));
    manifest.disk_sum = TRY(SparseSum(disk));
    if (::fchmod(disk.get(), 0400) != 0 || ::fsync(disk.get()) != 0) {
      return FailErrno(errno, fmt::format("finish '{}'", path));
    }
  }
  TRY(sys::WriteFileAtomic(dir + "/manifest.json", ToJson(manifest)));
  return ReplaceDirectory(dir, Dir(manifest.info.id));
}

Result<> TemplateStore::Remove(const std::string& id) const {
  if (!base::IsValidVmId(id)) return std::unexpected(NotFound(id));
  // Renamed first: a removal that is cut short leaves no half template behind.
  const auto trash = fmt::format("{}/trash/{}", pool_, base::RandomHex(8));
  if (::rename(Dir(id).c_str(), trash.c_str()) != 0) {
    if (errno == ENOENT) return std::unexpected(NotFound(id));
    return FailErrno(errno, fmt::format("remove template '{}'", id));
  }
  return sys::RemoveTree(trash);
}

}  // namespace tinderbox::image
