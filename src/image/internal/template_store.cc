// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/template_store.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "base/id.h"
#include "image/internal/checksum.h"
#include "image/internal/directory.h"
#include "image/internal/ext4.h"
#include "image/internal/saved_dir.h"
#include "image/internal/workspace.h"
#include "sys/file.h"

namespace tinderbox::image {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::string_view kPrepareRemedy =
    "Run 'tinderboxd prepare' as root to make the base template anew; build others again, and take "
    "snapshots again.";

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
  return IdFromText(fmt::format("tinderbox template {}", name));
}

std::string IdFromText(std::string_view text) {
  constexpr std::string_view kDigits = "abcdefghijklmnopqrstuvwxyz0123456789";
  const auto hash = Sha256Hex(text);
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
  auto manifest = LoadSaved(Dir(id));
  if (!manifest) {
    const Code code = manifest.error().code();
    if (code == Code::kNotFound) return std::unexpected(NotFound(id));
    if (code == Code::kDataLoss) return std::unexpected(Damaged(id, manifest.error()));
    return manifest;
  }
  if (manifest->info.id != id) {
    return std::unexpected(
        Damaged(id, base::Error(Code::kDataLoss, "its manifest is another template's")));
  }
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
  // What is there under this very id needs no look at all the others.
  if (base::IsValidVmId(name)) {
    if (auto loaded = Load(std::string(name)); loaded) return loaded;
  }
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

Result<> TemplateStore::Check(const std::string& id) const {
  const auto manifest = TRY(Load(id));
  if (auto checked = CheckSaved(manifest); !checked) {
    return std::unexpected(Damaged(id, checked.error()));
  }
  return {};
}

Result<> TemplateStore::Verify(const std::string& id) const {
  const auto manifest = TRY(Load(id));
  auto verified = VerifySavedDir(manifest);
  if (verified || verified.error().code() != Code::kDataLoss) return verified;
  return std::unexpected(Damaged(id, verified.error()));
}

Result<> TemplateStore::Install(const std::string& dir, TemplateManifest manifest) const {
  {
    const auto disk = TRY(sys::Open(dir + "/disk.img", O_RDONLY | O_NOFOLLOW));
    TRY(CheckExt4(disk, manifest.info.disk_bytes));
  }
  TRY(FinishSaved(dir, manifest, true, true));
  return ReplaceDirectory(dir, Dir(manifest.info.id));
}

Result<> TemplateStore::Rename(const std::string& id, const std::string& name) const {
  auto manifest = TRY(Load(id));
  manifest.info.name = name;
  return sys::WriteFileAtomic(Dir(id) + "/manifest.json", ToJson(manifest), 0600);
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
