// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "daemon/reconcile.h"

#include <fmt/format.h>

#include "base/log.h"
#include "sandbox/lost.h"
#include "sys/directory.h"
#include "sys/file.h"
#include "volume/metadata.h"

namespace tinderbox::daemon {

using base::Code;
using base::Result;

namespace {

struct Data {
  std::size_t volumes = 0;
  std::size_t sandboxes = 0;
};

// The pool's data that needs a record in the database. Unfinished data does not count.
Result<Data> DataIn(image::Library& library) {
  Data data;
  const std::string volumes = library.pool_dir() + "/volumes";
  const volume::Metadata metadata(volumes + "/.meta");
  for (const std::string& id : TRY(sys::NamesIn(volumes))) {
    if (id.starts_with('.') || metadata.IsMarkedRemoved(id)) continue;
    const bool named = metadata.Read(id).has_value();
    if (named || !TRY(sys::NamesIn(volumes + "/" + id)).empty()) ++data.volumes;
  }
  for (const std::string& id : TRY(library.SandboxDirs())) {
    if (sandbox::IsEphemeral(library, id)) continue;
    const std::string dir = fmt::format("{}/sandboxes/{}", library.pool_dir(), id);
    if (sys::Exists(dir + "/sandbox.json") || sys::Exists(dir + "/paused")) ++data.sandboxes;
  }
  return data;
}

}  // namespace

std::string RestoredMark(const Config& config) { return config.state_dir + "/restored"; }

Result<bool> Reconcile(const Config& config, System& system, const StartOptions& options) {
  const bool empty =
      TRY(system.store->ListSandboxes()).empty() && TRY(system.store->ListVolumes()).empty();
  const bool restored = sys::Exists(RestoredMark(config));
  const Data data = empty ? TRY(DataIn(*system.library)) : Data{};
  const bool has_data = data.volumes + data.sandboxes > 0;
  if (has_data && !restored && !options.adopt && !options.discard) {
    return std::unexpected(
        base::Error(
            Code::kFailedPrecondition,
            fmt::format("the database '{}' is empty, but the pool '{}' holds {} volumes and "
                        "{} sandboxes; nothing was changed",
                        StorePath(config), system.library->pool_dir(), data.volumes,
                        data.sandboxes))
            .WithRemedy("If you have a backup, run 'sudo tinderboxd restore'. Otherwise start with "
                        "'tinderboxd run --adopt' to take them up, or with 'tinderboxd run "
                        "--discard' to move them to lost+found."));
  }
  const bool adopt = restored || (empty && options.adopt);
  if (!adopt) return false;
  for (const std::string& id : TRY(sandbox::AdoptRecords(*system.store, *system.library))) {
    base::LogInfo("recovery", {{"found", fmt::format("sandbox '{}': taken up", id)}});
  }
  return true;
}

Result<> FinishReconciling(const Config& config) { return sys::RemoveFile(RestoredMark(config)); }

}  // namespace tinderbox::daemon
