// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "image/internal/pool.h"
#include "image/internal/template_store.h"
#include "image/library.h"

namespace tinderbox::image {

// What library.h says of VMs' files and saved states. In the pool:
//   captures/<random>/   being saved
//   templates/<id>/      boots/<id>/   forks/<id>/   saved states, as is
//   sandboxes/<id>/      disk.img, memory.base, vmm.state, memory.latest, work/ of its VM;
//     paused/            its saved state while it is paused
class SavedStore {
 public:
  SavedStore(const Pool& pool, const TemplateStore& templates)
      : pool_(pool), templates_(templates) {}

  base::Result<VmFiles> MakeVmFiles(const Template& source, const VmFilesOptions& options) const;
  base::Result<> RemoveVmFiles(const std::string& sandbox_id) const;
  base::Result<std::string> KeepMemory(const std::string& sandbox_id,
                                       const std::string& memory) const;
  base::Result<Capture> BeginCapture() const;
  base::Result<> FlushDisk(const std::string& sandbox_id) const;
  base::Result<> CaptureDisk(const Capture& capture, const std::string& sandbox_id) const;
  base::Result<> CaptureCopy(const Capture& capture, const Template& source) const;
  base::Result<Template> Commit(Capture capture, Template info, bool seal) const;
  base::Result<Template> FindPaused(const std::string& sandbox_id) const;
  base::Result<> RemovePaused(const std::string& sandbox_id) const;
  base::Result<Template> FindBoot(const std::string& id) const;
  base::Result<std::size_t> SweepCaptures() const;
  // Renamed into the trash first, so that a removal that is cut short leaves nothing half there.
  base::Result<> Trash(const std::string& path) const;
  // Of <pool>/<folder>/<id>; kInvalidArgument for an id that is none.
  base::Result<std::string> PathOf(std::string_view folder, const std::string& id) const;

 private:
  base::Result<Template> Find(const std::string& dir, std::string_view what) const;
  base::Result<std::string> PlaceOf(const Template& info) const;

  const Pool& pool_;
  const TemplateStore& templates_;
};

// The directory of a saved state.
std::string DirOf(const Template& saved);
std::uint64_t StoredBytes(const Template& saved);
// RFC 3339: now, in UTC, to the microsecond. In the order of such texts things were made.
std::string Rfc3339Now();

}  // namespace tinderbox::image
