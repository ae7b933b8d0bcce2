// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/firecracker/snapshot_files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>

#include "sys/file.h"
#include "vmm/memory_file.h"
#include "vmm/starting_vm.h"

namespace tinderbox::vmm::firecracker {

using base::Code;
using base::FailErrno;
using base::Result;

namespace {

constexpr char kMemory[] = "memory.img";
constexpr char kState[] = "vmm.state";
// The record of which file is the latest snapshot's memory; on disk, since a VM has handles in
// several processes and outlives them.
constexpr char kLatest[] = "latest";
constexpr char kUnsettled[] = "none";
constexpr off_t kMaxState = 16 << 20;  // Firecracker's own bound is 10 MB

// The directory as the jail has it: the jail's root is not the VMM's to change.
Result<sys::UniqueFd> OpenDirectory(LaunchedVm& vm) {
  const std::string path = fmt::format("/proc/{}/root{}", vm.vmm_pid(), kJailSnapshots);
  auto directory = sys::Open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  // Only after that: a VM that lives now is the one whose root was opened.
  if (HasEnded(vm)) return base::Fail(Code::kUnavailable, "the VMM has ended");
  if (!directory && directory.error().errno_value() == ENOENT)
    return std::unexpected(
        base::Error(Code::kFailedPrecondition,
                    fmt::format("VM '{}' was not launched to be snapshotted", vm.id()))
            .WithRemedy("Launch it with snapshots enabled."));
  return directory;
}

// A file by what stays the same when it is renamed.
std::string NameOf(const struct stat& file) {
  return fmt::format("{}:{}.", file.st_dev, file.st_ino);
}

Result<> Record(sys::FdRef directory, const std::string& latest) {
  const auto file =
      TRY(sys::OpenAt(directory, kLatest, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600));
  return sys::WriteAll(file, latest);
}

// For whoever owns the VMM's process, and in the place of what an earlier attempt left.
Result<sys::UniqueFd> MakeFile(sys::FdRef directory, const char* name, const struct stat& owner) {
  if (::unlinkat(directory.get(), name, 0) != 0 && errno != ENOENT)
    return FailErrno(errno, fmt::format("remove an old '{}'", name));
  sys::UniqueFd file =
      TRY(sys::OpenAt(directory, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
  if (::fchown(file.get(), owner.st_uid, owner.st_gid) != 0)
    return FailErrno(errno, fmt::format("give '{}' to the VMM", name));
  return file;
}

}  // namespace

Result<SnapshotFiles> SnapshotFiles::Create(LaunchedVm& vm) {
  sys::UniqueFd directory = TRY(OpenDirectory(vm));
  const auto owner = TRY(sys::Stat(fmt::format("/proc/{}/root/run", vm.vmm_pid())));
  sys::UniqueFd memory = TRY(MakeFile(directory, kMemory, owner));
  SnapshotFiles files(std::move(directory), std::move(memory), {});
  files.state_ = TRY(MakeFile(files.directory_, kState, owner));
  const std::string memory_path = fmt::format("/proc/{}/root{}", vm.vmm_pid(), kJailMemory);
  if (::lstat(memory_path.c_str(), &files.began_as_) != 0) files.began_as_ = {};
  auto record = sys::OpenAt(files.directory_, kLatest, O_RDONLY | O_NOFOLLOW);
  if (record) {
    files.latest_ = TRY(sys::ReadAll(*record, 256));
    // Cut short by a full disk, it says nothing that could be relied on.
    if (files.latest_.empty()) files.latest_ = kUnsettled;
  } else if (record.error().errno_value() != ENOENT) {
    return std::unexpected(std::move(record).error());
  }
  return files;
}

Result<> SnapshotFiles::PrepareDirectory(const std::string& path, gid_t gid) {
  const auto directory = TRY(sys::Open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (::fchown(directory.get(), 0, gid) != 0)
    return FailErrno(errno, fmt::format("change the owner of '{}'", path));
  if (::fchmod(directory.get(), 0710) != 0)
    return FailErrno(errno, fmt::format("change the mode of '{}'", path));
  if (::unlinkat(directory.get(), kLatest, 0) != 0 && errno != ENOENT)
    return FailErrno(errno, fmt::format("remove '{}/{}'", path, kLatest));
  return {};
}

Result<> SnapshotFiles::CheckBase(sys::FdRef base) const {
  struct stat status{};
  if (::fstat(base.get(), &status) != 0) return FailErrno(errno, "look at a snapshot's base");
  bool fits = false;
  if (!latest_.empty()) {
    fits = latest_ == NameOf(status);
  } else if (began_as_.st_ino != 0) {
    fits = NameOf(began_as_) == NameOf(status);
  } else {
    fits = status.st_blocks == 0;  // zeros and nothing else
  }
  if (fits) return {};
  return std::unexpected(
      base::Error(Code::kFailedPrecondition, "the base is not the VM's latest snapshot")
          .WithRemedy("Save the whole memory, without a base."));
}

Result<> SnapshotFiles::Unsettle() const { return Record(directory_, kUnsettled); }

Result<> SnapshotFiles::Settle(const std::string& memory) const {
  if (!memory.empty()) return Record(directory_, NameOf(TRY(sys::Stat(memory))));
  if (!latest_.empty()) return Record(directory_, latest_);
  if (::unlinkat(directory_.get(), kLatest, 0) != 0)
    return FailErrno(errno, "remove the record of a snapshot");
  return {};
}

SnapshotFiles::~SnapshotFiles() {
  if (!directory_) return;
  // Best effort: the next snapshot removes what is left.
  (void)::unlinkat(directory_.get(), kMemory, 0);
  (void)::unlinkat(directory_.get(), kState, 0);
}

Result<> SnapshotFiles::BeginWith(const std::string& base, base::Deadline deadline) const {
  const auto from = TRY(sys::Open(base, O_RDONLY));
  TRY(CheckBase(from));
  return CloneOrCopy(from, memory_, deadline);
}

PlannedRequest SnapshotFiles::Request(bool diff) const {
  const boost::json::object body = {
      {"snapshot_type", diff ? "Diff" : "Full"},
      {"snapshot_path", fmt::format("{}/{}", kJailSnapshots, kState)},
      {"mem_file_path", fmt::format("{}/{}", kJailSnapshots, kMemory)}};
  return {.method = "PUT", .path = "/snapshot/create", .body = boost::json::serialize(body)};
}

Result<> SnapshotFiles::CopyTo(const SnapshotPaths& to, base::Deadline deadline) const {
  struct stat status{};
  if (::fstat(state_.get(), &status) != 0) return FailErrno(errno, "look at a snapshot's state");
  if (status.st_size == 0 || status.st_size > kMaxState)
    return base::Fail(Code::kDataLoss,
                      fmt::format("Firecracker wrote a state of {} bytes", status.st_size));
  NewFile memory = TRY(NewFile::Create(to.memory));
  NewFile state = TRY(NewFile::Create(to.state));
  TRY(CloneOrCopy(memory_, memory.fd(), deadline));
  TRY(CloneOrCopy(state_, state.fd(), deadline));
  TRY(memory.Seal());
  TRY(state.Seal());
  memory.Keep();
  state.Keep();
  return {};
}

}  // namespace tinderbox::vmm::firecracker
