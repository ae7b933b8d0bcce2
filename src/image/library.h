// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

// Kernels, templates and disks: what VMs are made of, in a pool on a file system with reflinks.
namespace tinderbox::image {

struct Kernel {
  std::string version;  // "6.1.0-41-cloud-amd64"
  std::string vmlinux;  // host path, uncompressed ELF
  std::string initrd;   // host path: our initramfs with agent and modules
};

// One line of progress for a person: what is being done now.
using Progress = std::function<void(std::string_view)>;

struct Template {
  std::string id;    // 20 characters [a-z0-9], stable
  std::string name;  // "base"; [a-z0-9-_]+
  std::string disk;  // host path of disk.img (raw ext4), read-only
  std::uint64_t disk_bytes = 0;
  std::uint32_t memory_mib = 512;  // defaults of its sandboxes
  std::uint32_t cpus = 1;
  std::string default_user;
  std::string default_workdir;
  std::string created_at;  // RFC 3339
  std::vector<std::pair<std::string, std::string>> env;
};

struct LibraryOptions {
  std::string state_dir;                   // pool at <state_dir>/pool
  std::string agent;                       // path of tinderbox-agent, for the initramfs
  std::uint64_t pool_bytes = 64ull << 30;  // sparse size of the XFS image where one is needed
  // What must stay free on the file system of state_dir: below it nothing new is made.
  std::uint64_t reserve_bytes = 1ull << 30;
  // A package that holds the kernel, or depends on the one that does.
  std::string kernel_package = "linux-image-cloud-amd64";
  std::string suite = "bookworm";              // Debian's release for the base template
  std::uint64_t base_disk_bytes = 8ull << 30;  // size of its (sparse) disk
};

class Library {
 public:
  virtual ~Library() = default;

  virtual const std::string& pool_dir() const = 0;

  // The kernel that sandboxes boot; kFailedPrecondition with a remedy where none was prepared.
  virtual base::Result<Kernel> DefaultKernel() = 0;
  virtual base::Result<std::vector<Template>> Templates() = 0;
  // By id, name or "name:default". kNotFound: "template 'x' not found".
  virtual base::Result<Template> FindTemplate(std::string_view id_or_name) = 0;

  // Downloads Debian's cloud kernel package (apt; never installed), extracts vmlinux, builds the
  // initramfs. Does nothing where the same version is there (unless the agent has changed: then
  // only the initramfs is rebuilt).
  virtual base::Result<Kernel> PrepareKernel(const Progress& progress) = 0;
  // Makes the `base` template with mmdebstrap. Does nothing where it is there and of this recipe.
  virtual base::Result<Template> PrepareBaseTemplate(const Progress& progress) = 0;

  // A sandbox's own writable disk: reflink of the template's, owned by uid:gid, 0600, at
  // <pool>/sandboxes/<id>/disk.img. Verified before use: a template disk that is damaged (bad ext4
  // superblock, wrong size against its manifest) is kDataLoss.
  virtual base::Result<std::string> CloneDisk(const Template& source, const std::string& sandbox_id,
                                              unsigned uid, unsigned gid) = 0;
  // Removes <pool>/sandboxes/<id>; absence is success.
  virtual base::Result<> RemoveSandbox(const std::string& sandbox_id) = 0;
  // The ids of all directories below <pool>/sandboxes.
  virtual base::Result<std::vector<std::string>> SandboxDirs() = 0;
  virtual base::Result<> RemoveTemplate(const std::string& id) = 0;
  // Reads all of a template's disk and compares it with its checksum; CloneDisk() looks at the
  // superblock only. kDataLoss where they differ.
  virtual base::Result<> VerifyTemplate(const std::string& id) {
    return base::Fail(base::Code::kUnimplemented, "verify template '" + id + "'");
  }
  // Bytes free and in all, of the pool.
  struct Space {
    std::uint64_t free_bytes = 0;
    std::uint64_t total_bytes = 0;
  };
  virtual base::Result<Space> PoolSpace() = 0;
};

// Mounts the pool's XFS image where state_dir has no reflinks (makes it first if need be; says so
// to `progress`), and opens the library. Idempotent. Crash-safe: an image left mounted by a
// predecessor is taken over, never mounted twice.
base::Result<std::unique_ptr<Library>> OpenLibrary(const LibraryOptions& options,
                                                   const Progress& progress);
// Unmounts the pool and frees its loop device; the image file stays. kFailedPrecondition if busy.
base::Result<> ClosePool(const std::string& state_dir);

}  // namespace tinderbox::image
