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
  std::string build;    // of that initramfs: another one has another
};

// One line of progress for a person: what is being done now.
using Progress = std::function<void(std::string_view)>;

// Templates, snapshots and paused sandboxes are one thing, saved in one shape: a directory with
// manifest.json, disk.img and, where memory was saved, memory.img and vmm.state.
enum class SavedKind {
  kTemplate,  // <pool>/templates/<id>: a disk that sandboxes boot from
  kSnapshot,  // <pool>/templates/<id>: a sandbox's state, kept to create others from
  kBoot,      // <pool>/boots/<id>: a template's first boot, which sandboxes of it are restored from
  kPaused,    // <pool>/sandboxes/<id>/paused
  kFork,      // <pool>/forks/<id>: until the children run
};

// The VM whose memory was saved: only a compatible one can restore it. vmm::Capabilities says what
// the values mean.
struct SavedVm {
  std::string vmm, vmm_version, accelerator;
  std::string state_format;   // empty: unknown, so that only the same version of the VMM reads it
  std::string cpu;            // what the CPU's state depends on
  std::string cpu_features;   // empty: unknown
  std::uint64_t tsc_khz = 0;  // 0: does not matter
  std::string kernel;         // its version, for people: the kernel itself is in the memory
  bool operator==(const SavedVm&) const = default;
};

struct Template {
  std::string id;    // 20 characters [a-z0-9], stable
  std::string name;  // "base"; [a-z0-9-_]+; a snapshot's may be empty, or "name:tag"
  std::string disk;  // host path of disk.img (raw ext4), read-only
  std::uint64_t disk_bytes = 0;
  std::uint32_t memory_mib = 512;  // defaults of its sandboxes
  std::uint32_t cpus = 1;
  std::string default_user;
  std::string default_workdir;
  std::string created_at;  // RFC 3339
  std::vector<std::pair<std::string, std::string>> env;

  SavedKind kind = SavedKind::kTemplate;
  std::optional<SavedVm> vm;   // with memory: then
  std::string memory;          //   host path of memory.img, as large as memory_mib
  std::string state;           //   host path of vmm.state
  std::string agent_token;     //   what the agent in that memory demands; empty: nothing
  bool agent_silent = false;   //   the agent did not answer when it was saved
  std::string source_sandbox;  // whose state it is
  std::string parent;          // id of what that sandbox was made from
};

struct LibraryOptions {
  std::string state_dir;                  // pool at <state_dir>/pool
  std::string agent;                      // path of tinderbox-agent, for the initramfs
  std::uint64_t pool_bytes = 8ull << 30;  // at first, of the XFS image, if one is needed
  bool pool_sparse = false;               // the image takes only what is used; see image/README.md
  // What must stay free on the file system of state_dir: below it nothing new is made.
  std::uint64_t reserve_bytes = 1ull << 30;
  // A package that holds the kernel, or depends on the one that does.
  std::string kernel_package = "linux-image-cloud-amd64";
  std::string suite = "bookworm";              // Debian's release for the base template
  std::uint64_t base_disk_bytes = 8ull << 30;  // size of its (sparse) disk
};

// What is being saved: an empty directory of the pool, gone again with this object unless it is
// committed. Movable; its files are made by whoever saves.
class Capture {
 public:
  explicit Capture(std::string dir) : dir_(std::move(dir)) {}
  Capture(Capture&& other) noexcept : dir_(std::exchange(other.dir_, {})) {}
  Capture& operator=(Capture&&) = delete;
  ~Capture();

  const std::string& dir() const { return dir_; }
  std::string disk() const { return dir_ + "/disk.img"; }
  std::string memory() const { return dir_ + "/memory.img"; }
  std::string state() const { return dir_ + "/vmm.state"; }
  void Release() { dir_.clear(); }

 private:
  std::string dir_;
};

// The files of one VM, in <pool>/sandboxes/<id>.
struct VmFiles {
  std::string disk;          // its own, writable, owned by its uid
  std::string memory_base;   // what its memory begins as: shared with all that begin as the same
  std::string state;         // to restore; empty: it boots
  std::string snapshot_dir;  // for a VMM that writes its snapshots itself
};
struct VmFilesOptions {
  std::string sandbox_id;
  unsigned uid = 0;
  unsigned gid = 0;
  bool restore = false;          // with memory and state of the source; else it boots
  bool own_memory = false;       // the VMM writes to memory_base: a copy of its own, owned by uid
  std::uint32_t memory_mib = 0;  // of a VM that boots: its memory begins as a sparse file of zeros
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

  // Makes the files of a VM that starts as `source`: reflinks and hard links, no data is copied.
  // Checked before use: what is damaged (manifest, state, a file's size, the disk's superblock) is
  // kDataLoss and named. On failure none of them is there. What an earlier run left is replaced.
  virtual base::Result<VmFiles> MakeVmFiles(const Template& source,
                                            const VmFilesOptions& options) = 0;
  // Removes the files of a VM that has ended; what the sandbox keeps while it is paused stays.
  virtual base::Result<> RemoveVmFiles(const std::string& sandbox_id) = 0;
  // Makes `memory` (of a snapshot just taken) stay within reach of the sandbox for as long as its
  // VM runs, whatever becomes of the snapshot, and yields its path then.
  virtual base::Result<std::string> KeepMemory(const std::string& sandbox_id,
                                               const std::string& memory) = 0;

  virtual base::Result<Capture> BeginCapture() = 0;
  // Starts to write out what of the sandbox's disk is not on disk yet, so that CaptureDisk has
  // little to wait for.
  virtual base::Result<> FlushDisk(const std::string& sandbox_id) = 0;
  // The disk as it is now; its guest stands still, or has ended.
  virtual base::Result<> CaptureDisk(const Capture& capture, const std::string& sandbox_id) = 0;
  // The files of `source`, without copying data.
  virtual base::Result<> CaptureCopy(const Capture& capture, const Template& source) = 0;
  // Makes it what info.kind says, under info.id (kPaused: of info.source_sandbox), in one rename,
  // in the place of what stood there. Durable when it returns (but for kFork). Checksums cost
  // reading all of it: where `seal` is not set they are left to Seal().
  virtual base::Result<Template> Commit(Capture capture, Template info, bool seal) = 0;

  virtual base::Result<Template> FindPaused(const std::string& sandbox_id) = 0;  // kNotFound
  virtual base::Result<> RemovePaused(const std::string& sandbox_id) = 0;  // absence is success
  virtual base::Result<Template> FindBoot(const std::string& id) = 0;      // kNotFound
  virtual base::Result<std::vector<std::string>> BootIds() = 0;
  virtual base::Result<> RemoveBoot(const std::string& id) = 0;
  virtual base::Result<> RemoveFork(const std::string& id) = 0;
  // Removes captures and forks that a killed daemon left; their number.
  virtual base::Result<std::size_t> SweepCaptures() = 0;
  // Adds the checksums that Commit left out. kNotFound, or kAborted, where it is gone by then.
  virtual base::Result<> Seal(const Template& saved) = 0;
  // Reads all of it and compares: kDataLoss names the file that differs.
  virtual base::Result<> VerifySaved(const Template& saved) = 0;
  // Bytes that it takes on disk, what it shares with others included.
  virtual std::uint64_t StoredBytes(const Template& saved) = 0;
  // A snapshot gets another name; empty: none.
  virtual base::Result<> RenameSnapshot(const std::string& id, const std::string& name) = 0;

  // Removes <pool>/sandboxes/<id>; absence is success.
  virtual base::Result<> RemoveSandbox(const std::string& sandbox_id) = 0;
  // The ids of all directories below <pool>/sandboxes.
  virtual base::Result<std::vector<std::string>> SandboxDirs() = 0;
  virtual base::Result<> RemoveTemplate(const std::string& id) = 0;
  // VerifySaved() for a template or snapshot, by its id.
  virtual base::Result<> VerifyTemplate(const std::string& id) = 0;
  // Bytes free and in all, of the pool.
  struct Space {
    std::uint64_t free_bytes = 0;
    std::uint64_t total_bytes = 0;
    std::uint64_t most_bytes = 0;  // what total_bytes may grow to
  };
  virtual base::Result<Space> PoolSpace() = 0;
  // To be called before so many bytes are added to the pool: kResourceExhausted where they would
  // eat into what must stay free.
  virtual base::Result<> EnsureRoom(std::uint64_t bytes) = 0;
};

// 20 characters of [a-z0-9] out of a hash of `text`: E2B's form of a template's id.
std::string IdFromText(std::string_view text);

// Whether `name` may name a snapshot: 1-64 characters of [a-z0-9-_], the first a letter or digit,
// and maybe a tag after a colon.
bool IsValidSnapshotName(std::string_view name);

// Mounts the pool's XFS image where state_dir has no reflinks (makes it first if need be; says so
// to `progress`), and opens the library. Idempotent. Crash-safe: an image left mounted by a
// predecessor is taken over, never mounted twice.
base::Result<std::unique_ptr<Library>> OpenLibrary(const LibraryOptions& options,
                                                   const Progress& progress);
// Unmounts the pool and frees its loop device; the image file stays. kFailedPrecondition if busy.
base::Result<> ClosePool(const std::string& state_dir);

}  // namespace tinderbox::image
