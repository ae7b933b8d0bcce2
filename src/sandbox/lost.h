// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "image/lost_found.h"
#include "sandbox/open.h"
#include "store/store.h"

// Metadata beside a sandbox's data, in <pool>/sandboxes/<id>. It shows whether the data belongs to
// a sandbox, even if the store is lost.
namespace tinderbox::sandbox {

// Writes the sandbox's record beside its data: sandbox.json, 0600, atomically. Does nothing if the
// sandbox has no data. `durable`: it survives a crash of the host. Failures are logged.
void KeepRecordBeside(store::Store& store, const image::Library& library, const std::string& id,
                      bool durable);
// kNotFound if there is none; kDataLoss.
base::Result<store::SandboxRecord> RecordBeside(store::Store& store, const image::Library& library,
                                                const std::string& id);

// A VM that has no sandbox yet: its files are removed with it, and not kept as lost.
base::Result<> MarkEphemeral(const image::Library& library, const std::string& id);
base::Result<> UnmarkEphemeral(const image::Library& library, const std::string& id);
bool IsEphemeral(const image::Library& library, const std::string& id);

// Moves the data of a sandbox, whose VM has ended, to lost+found. No entry if it has none.
base::Result<std::optional<image::LostEntry>> LoseDisk(const image::Library& library,
                                                       const store::SandboxRecord& record,
                                                       std::string_view why);

// Whether the run directory is of a VM that lives.
bool VmLives(const std::string& run_dir);
// Notes down in `record` which process `vm` is.
void PutProcess(store::SandboxRecord& record, const vmm::LaunchedVm& vm);
// Kills the VM that the record names by its process, if that is still the same and lives: for a VM
// whose run directory is gone.
base::Result<> EndStray(const store::SandboxRecord& record);

// Makes the store agree with the records beside the sandboxes' data, for a store that is new or was
// put back from a backup: records are taken from there, and those without data and without a VM are
// dropped. To be called before OpenManager. Returns the ids that it took up.
base::Result<std::vector<std::string>> AdoptRecords(store::Store& store, image::Library& library);

}  // namespace tinderbox::sandbox
