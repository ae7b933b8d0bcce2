// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// What sandboxes can be made from: templates and snapshots.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "sandbox/context.h"
#include "sandbox/manager_impl.h"
#include "sandbox/saved.h"

namespace tinderbox::sandbox {

using base::Code;
using base::Error;
using base::Fail;
using base::Result;

std::uint32_t ManagerImpl::SandboxesOf(std::string_view template_id) {
  std::uint32_t count = 0;
  for (const SandboxPtr& sandbox : All()) {
    const store::SandboxRecord record = sandbox->record();
    if (record.template_id == template_id && sandbox->state() != State::kDead) ++count;
  }
  return count;
}

TemplateInfo ManagerImpl::Describe(const image::Template& source) {
  TemplateInfo info;
  info.id = source.id;
  if (!source.name.empty()) info.names = {source.name};
  info.is_snapshot = source.kind == image::SavedKind::kSnapshot;
  info.source_sandbox = source.source_sandbox;
  info.parent = source.parent;
  info.memory_mib = source.memory_mib;
  info.cpus = source.cpus;
  info.disk_mib = source.disk_bytes >> 20;
  info.created_at = source.created_at;
  info.stored_bytes = options_.library.StoredBytes(source);
  info.sandboxes = SandboxesOf(source.id);
  if (const auto spawns = options_.store.Events().SpawnsOf(source.id)) {
    info.spawns = spawns->count;
    info.last_spawned_at_ms = spawns->last_at;
  } else {
    // The template can be used all the same.
    base::LogWarning("cannot count a template's sandboxes",
                     {{"id", source.id}, {"why", spawns.error().ToString()}});
  }
  image::Template shown = source;
  if (!info.is_snapshot) {
    // A template's memory is its boot snapshot's.
    const Shape shape{.memory_mib = source.memory_mib, .cpus = source.cpus};
    if (const auto boot = boots_.Find(source, shape)) {
      shown = *boot;
      info.stored_bytes += options_.library.StoredBytes(*boot);
    } else if (const auto id = boots_.IdOf(source, shape)) {
      info.ready = !boots_.InProgress(*id);
    }
  }
  if (!shown.vm) return info;
  info.has_memory = true;
  info.misfit = MisfitOf(*shown.vm, options_.driver.capabilities());
  info.vmm = shown.vm->vmm;
  info.vmm_version = shown.vm->vmm_version;
  info.accelerator = shown.vm->accelerator;
  info.kernel = shown.vm->kernel;
  return info;
}

Result<std::vector<TemplateInfo>> ManagerImpl::Templates() {
  std::vector<TemplateInfo> infos;
  for (const image::Template& each : TRY(options_.library.Templates())) {
    infos.push_back(Describe(each));
  }
  std::ranges::sort(infos, std::greater(),
                    [](const TemplateInfo& info) { return std::pair(info.created_at, info.id); });
  return infos;
}

Result<TemplateInfo> ManagerImpl::GetTemplate(std::string_view id_or_name) {
  return Describe(TRY(options_.library.FindTemplate(id_or_name)));
}

Result<> ManagerImpl::RemoveTemplate(std::string_view id_or_name) {
  const image::Template source = TRY(options_.library.FindTemplate(id_or_name));
  for (const SandboxPtr& sandbox : All()) {
    const store::SandboxRecord record = sandbox->record();
    if (record.template_id != source.id || sandbox->state() == State::kDead) continue;
    return std::unexpected(
        Error(Code::kFailedPrecondition,
              fmt::format("cannot delete template '{}' because there are {} sandboxes using it",
                          id_or_name, sandbox->state() == State::kPaused ? "paused" : "running"))
            .WithRemedy(fmt::format("Remove them first, '{}' for one.", record.id)));
  }
  TRY(options_.library.RemoveTemplate(source.id));
  if (source.kind == image::SavedKind::kTemplate) {
    std::uint64_t freed = 0;
    TRY(boots_.Prune(freed));
  }
  // Left behind, it would only take a little space.
  if (auto forgotten = options_.store.Events().ForgetSpawns(source.id); !forgotten) {
    base::LogWarning("template's count of sandboxes stays",
                     {{"id", source.id}, {"why", forgotten.error().ToString()}});
  }
  base::LogInfo("template removed", {{"id", source.id}, {"name", source.name}});
  return {};
}

Result<> ManagerImpl::Verify(std::string_view id_or_name) {
  if (const auto sandbox = Find(id_or_name)) {
    const Locked locked = TRY(Lock(id_or_name));
    if (locked.sandbox->state() != State::kPaused) {
      return Fail(Code::kFailedPrecondition,
                  fmt::format("sandbox '{}' is {}: only what is paused can be verified", id_or_name,
                              StateName(locked.sandbox->state())));
    }
    const image::Template saved = TRY(options_.library.FindPaused((*sandbox)->id()));
    // Its checksums may not be written yet.
    TRY(options_.library.Seal(saved));
    return options_.library.VerifySaved(saved);
  }
  const image::Template source = TRY(options_.library.FindTemplate(id_or_name));
  TRY(options_.library.VerifyTemplate(source.id));
  if (source.kind != image::SavedKind::kTemplate) return {};
  const auto boot = boots_.Find(source, {.memory_mib = source.memory_mib, .cpus = source.cpus});
  if (boot) {
    TRY(options_.library.Seal(*boot));
    return options_.library.VerifySaved(*boot);
  }
  if (boot.error().code() == Code::kNotFound) return {};
  return std::unexpected(boot.error());
}

Result<Manager::Pruned> ManagerImpl::Prune() {
  Pruned pruned;
  for (const std::string& id : TRY(boots_.Prune(pruned.freed_bytes))) {
    pruned.removed.push_back(fmt::format("boot snapshot '{}': it does not fit any more", id));
  }
  const std::int64_t now = NowMs();
  for (const SandboxPtr& sandbox : All()) {
    // The dead are kept for a look at how they ended; whoever prunes has had it.
    if (sandbox->state() != State::kDead || sandbox->record().end_at > now) continue;
    const auto locked = Lock(sandbox->id());
    if (!locked) continue;
    TRY(KillLocked(*sandbox, "pruned"));
    pruned.removed.push_back(fmt::format("the record of dead sandbox '{}'", sandbox->id()));
  }
  return pruned;
}

}  // namespace tinderbox::sandbox
