// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/pool.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>

#include "base/deadline.h"
#include "base/log.h"
#include "image/internal/pool_mount.h"
#include "image/internal/workspace.h"
#include "sys/directory.h"
#include "sys/file.h"
#include "sys/loop.h"
#include "sys/mount_table.h"
#include "sys/reflink.h"
#include "sys/tool.h"
#include "sys/xfs.h"

namespace tinderbox::image {

using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kSmallestXfs = 300 * kMiB;
constexpr std::uint64_t kSmallestImage = 512 * kMiB;  // if the host has as much
constexpr std::uint64_t kSmallestGrowth = 64 * kMiB;

struct Free {
  std::uint64_t free = 0;
  std::uint64_t total = 0;
};

Result<Free> FreeSpace(const std::string& path) {
  struct statvfs fs{};
  if (::statvfs(path.c_str(), &fs) != 0) return FailErrno(errno, fmt::format("stat '{}'", path));
  return Free{fs.f_bavail * std::uint64_t{fs.f_frsize}, fs.f_blocks * std::uint64_t{fs.f_frsize}};
}

std::string PoolDir(const std::string& state_dir) { return state_dir + "/pool"; }
std::string ImagePath(const std::string& state_dir) { return state_dir + "/pool.img"; }

Result<std::string> RealPath(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), ::free);
  if (!real) return FailErrno(errno, fmt::format("resolve '{}'", path));
  return std::string(real.get());
}

base::Error ImageInUse(const std::string& pool, std::string_view why) {
  return base::Error(Code::kFailedPrecondition, fmt::format("open pool '{}': {}", pool, why))
      .WithRemedy(fmt::format("Unmount '{}' (umount), then start again.", pool));
}

// Bytes of the image that its host's file system does not hold for it yet.
Result<std::uint64_t> Unbacked(const std::string& path) {
  struct stat st{};
  if (::stat(path.c_str(), &st) != 0) return FailErrno(errno, fmt::format("stat '{}'", path));
  const auto size = static_cast<std::uint64_t>(st.st_size);
  const auto held = static_cast<std::uint64_t>(st.st_blocks) * 512;
  return size > held ? size - held : 0;
}

// A sparse image stays one, and gives back what is freed in it. One that was allocated may lack
// blocks, because a growth was cut short or a program has trimmed it (fstrim).
Result<bool> IsSparse(const std::string& path) {
  struct stat st{};
  if (::stat(path.c_str(), &st) != 0) return FailErrno(errno, fmt::format("stat '{}'", path));
  return TRY(Unbacked(path)) > static_cast<std::uint64_t>(st.st_size) / 2;
}

// Makes the host's file system hold all of the image, so that no write to it can find no space.
Result<> Allocate(const sys::UniqueFd& image, const std::string& path, std::uint64_t bytes) {
  if (::fallocate(image.get(), 0, 0, static_cast<off_t>(bytes)) == 0) return {};
  // The guard of a sparse image then is all there is (Pool::Space).
  if (errno == EOPNOTSUPP) {
    base::LogWarning("the file system cannot allocate the pool's image ahead", {{"image", path}});
    return {};
  }
  return FailErrno(errno, fmt::format("allocate '{}'", path));
}

// How large a new image becomes. One that is allocated leaves most of the space to others: it grows
// as it fills.
std::uint64_t NewImageBytes(const Pool::Options& options, std::uint64_t usable) {
  const auto most =
      options.sparse ? usable : std::max(usable / 4, std::min(usable, kSmallestImage));
  return std::min(options.image_bytes, most) / kMiB * kMiB;
}

Result<> MakeImage(const Pool::Options& options, const Progress& progress) {
  const auto path = ImagePath(options.state_dir);
  if (options.image_bytes < kSmallestXfs) {
    return Fail(Code::kInvalidArgument,
                fmt::format("make pool image '{}': {} MiB are too few, XFS needs {}", path,
                            options.image_bytes / kMiB, kSmallestXfs / kMiB));
  }
  TRY(RequireFreeSpace(options.state_dir, kSmallestXfs + options.reserve_bytes));
  const auto space = TRY(FreeSpace(options.state_dir));
  const auto bytes = NewImageBytes(options, space.free - options.reserve_bytes);
  progress(fmt::format("'{}' has no reflinks: making {} XFS image of {} MiB there",
                       options.state_dir, options.sparse ? "a sparse" : "an", bytes / kMiB));
  const auto unfinished = path + ".new";
  TRY(sys::RemoveFile(unfinished));
  {
    const auto file = TRY(sys::Open(unfinished, O_RDWR | O_CREAT | O_EXCL, 0600));
    if (::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) {
      return FailErrno(errno, fmt::format("set the size of '{}'", unfinished));
    }
  }
  sys::ToolSpec mkfs;
  mkfs.argv = {"mkfs.xfs", "-q",       "-m", "reflink=1,crc=1", "-s",      "size=4096",
               "-i",       "sparse=1", "-L", "tinderbox",       unfinished};
  mkfs.deadline = base::Deadline::After(std::chrono::minutes(2));
  const auto made = TRY(sys::RunTool(mkfs));
  if (made.exit_code != 0) {
    static_cast<void>(sys::RemoveFile(unfinished));
    return Fail(Code::kInternal, fmt::format("make XFS in '{}': exit code {}: {}", unfinished,
                                             made.exit_code, made.error_tail));
  }
  if (!options.sparse) {
    const auto file = TRY(sys::Open(unfinished, O_RDWR | O_NOFOLLOW));
    if (auto allocated = Allocate(file, unfinished, bytes); !allocated) {
      static_cast<void>(sys::RemoveFile(unfinished));
      return allocated;
    }
  }
  TRY(SyncPath(unfinished));
  if (::rename(unfinished.c_str(), path.c_str()) != 0) {
    return FailErrno(errno, fmt::format("rename '{}' to '{}'", unfinished, path));
  }
  return SyncPath(options.state_dir);
}

// The loop device of the image: the one that it has, or else a new one.
Result<sys::LoopDevice> ImageDevice(const sys::UniqueFd& image, const std::string& path) {
  auto found = TRY(sys::FindLoop(image));
  if (found) return std::move(*found);
  return sys::AttachLoop(image, path);
}

Result<> MountImage(const std::string& state_dir) {
  const auto pool = PoolDir(state_dir);
  const auto path = ImagePath(state_dir);
  if (!TRY(sys::NamesIn(pool)).empty()) {
    return std::unexpected(
        base::Error(Code::kFailedPrecondition,
                    fmt::format("mount pool image on '{}': the directory is not empty", pool))
            .WithRemedy("Move what is in it elsewhere, then start again."));
  }
  const auto image = TRY(sys::Open(path, O_RDWR | O_NOFOLLOW));
  const auto device = TRY(ImageDevice(image, path));
  // Discards give the room of what is removed back to the host's file system; an image that is
  // allocated keeps it.
  const char* const mode = TRY(IsSparse(path)) ? "discard" : "nodiscard";
  if (::mount(device.path.c_str(), pool.c_str(), "xfs",
              MS_NOATIME | MS_NODEV | MS_NOSUID | MS_NOEXEC, mode) == 0) {
    return {};
  }
  const int err = errno;
  auto error = base::Error::FromErrno(
      err, fmt::format("mount pool image '{}' ({}) on '{}'", path, device.path, pool));
  if (err == EUCLEAN || err == EINVAL || err == EIO) {
    return std::unexpected(base::Error(Code::kDataLoss, error.ToString())
                               .WithRemedy(fmt::format(
                                   "The image is damaged. It holds all volumes and sandboxes: copy "
                                   "it to a safe place, then run 'xfs_repair {}'.",
                                   path)));
  }
  return std::unexpected(
      std::move(error).WithRemedy("The host's kernel must have XFS ('modprobe xfs')."));
}

// What is mounted on the pool must be our image, if there is one, or else anything with reflinks.
Result<> TakeOver(const std::string& state_dir, const sys::MountEntry& mount, bool has_image) {
  const auto pool = PoolDir(state_dir);
  if (has_image) {
    const auto image = TRY(sys::Open(ImagePath(state_dir), O_RDWR | O_NOFOLLOW));
    const auto device = TRY(sys::FindLoop(image));
    if (device && device->path == mount.source) return {};
    return std::unexpected(
        ImageInUse(pool, fmt::format("'{}' is mounted there, not pool.img", mount.source)));
  }
  if (TRY(sys::HasReflinks(pool))) return {};
  return std::unexpected(
      ImageInUse(pool, fmt::format("the {} mounted there has no reflinks", mount.type)));
}

// A growth that was cut short is finished: device and file system become as large as the file.
Result<> FinishGrowth(const std::string& state_dir) {
  const auto image = TRY(sys::Open(ImagePath(state_dir), O_RDWR | O_NOFOLLOW));
  struct stat st{};
  if (::fstat(image.get(), &st) != 0) return FailErrno(errno, "stat the pool image");
  const auto device = TRY(sys::FindLoop(image));
  if (!device) return Fail(Code::kInternal, "grow pool: its image has no loop device");
  TRY(sys::RefreshLoopSize(*device));
  const auto root = TRY(sys::Open(PoolDir(state_dir), O_RDONLY | O_DIRECTORY));
  return sys::GrowXfs(root, static_cast<std::uint64_t>(st.st_size));
}

// Allocates the missing blocks of an allocated image, if the host has the space.
Result<> FinishAllocation(const Pool::Options& options) {
  const auto path = ImagePath(options.state_dir);
  const auto unbacked = TRY(Unbacked(path));
  if (unbacked == 0 || TRY(IsSparse(path))) return {};
  const auto host = TRY(FreeSpace(options.state_dir));
  if (host.free < options.reserve_bytes + unbacked) return {};
  const auto image = TRY(sys::Open(path, O_RDWR | O_NOFOLLOW));
  struct stat st{};
  if (::fstat(image.get(), &st) != 0) return FailErrno(errno, fmt::format("stat '{}'", path));
  return Allocate(image, path, static_cast<std::uint64_t>(st.st_size));
}

Result<sys::UniqueFd> LockPool(const std::string& state_dir) {
  return LockFile(state_dir + "/pool.lock");
}

}  // namespace

Result<Pool> Pool::Open(const Options& options, const Progress& progress) {
  TRY(sys::MakeDirs(options.state_dir));
  Options real = options;
  real.state_dir = TRY(RealPath(options.state_dir));
  const auto lock = TRY(LockPool(real.state_dir));
  const auto pool = PoolDir(real.state_dir);
  TRY(sys::MakeDirs(pool, 0711));
  bool has_image = sys::Exists(ImagePath(real.state_dir));
  const auto mount = TRY(sys::FindMount(pool));
  if (mount) {
    TRY(TakeOver(real.state_dir, *mount, has_image));
  } else if (has_image || !TRY(sys::HasReflinks(real.state_dir))) {
    if (!has_image) TRY(MakeImage(real, progress));
    has_image = true;
    TRY(MountImage(real.state_dir));
  }
  if (has_image) TRY(FinishAllocation(real));
  TRY(ProtectPool(pool));
  if (has_image) TRY(FinishGrowth(real.state_dir));
  TRY(sys::MakeDirs(pool + "/templates", 0711));
  TRY(sys::MakeDirs(pool + "/sandboxes", 0711));
  for (const char* folder : {"/boots", "/forks", "/captures"}) {
    TRY(sys::MakeDirs(pool + folder, 0700));
  }
  TRY(sys::RemoveTree(pool + "/trash"));
  TRY(sys::MakeDirs(pool + "/trash", 0700));
  return Pool(std::move(real), pool, has_image);
}

Result<> Pool::Grow(std::uint64_t bytes) const {
  const auto path = ImagePath(options_.state_dir);
  const auto image = TRY(sys::Open(path, O_RDWR | O_NOFOLLOW));
  struct stat st{};
  if (::fstat(image.get(), &st) != 0) return FailErrno(errno, fmt::format("stat '{}'", path));
  const off_t size = st.st_size + static_cast<off_t>(bytes / kMiB * kMiB);
  if (!TRY(IsSparse(path))) TRY(Allocate(image, path, static_cast<std::uint64_t>(size)));
  if (::ftruncate(image.get(), size) != 0) return FailErrno(errno, fmt::format("grow '{}'", path));
  return FinishGrowth(options_.state_dir);
}

base::Error Pool::Full(const std::string& dir, std::uint64_t free, std::uint64_t needed) const {
  return base::Error(Code::kResourceExhausted,
                     fmt::format("find room in '{}': {} MiB free, {} MiB must be", dir, free / kMiB,
                                 needed / kMiB))
      .WithErrno(ENOSPC)
      .WithRemedy(fmt::format(
          "Free disk space on the file system of '{}', or remove sandboxes and templates.",
          options_.state_dir));
}

// Bytes that new work leaves to running sandboxes. Only for an image: a pool without one has the
// reserve of its file system.
std::uint64_t Pool::KeptForRunning(std::uint64_t total) const {
  return has_image_ ? std::min(options_.reserve_bytes, total / 8) : 0;
}

Result<> Pool::EnsureRoom(std::uint64_t bytes) const {
  const auto host = TRY(FreeSpace(options_.state_dir));
  if (host.free < options_.reserve_bytes + bytes) {
    return std::unexpected(Full(options_.state_dir, host.free, options_.reserve_bytes + bytes));
  }
  auto pool = TRY(FreeSpace(dir_));
  if (has_image_ && pool.free < pool.total / 8 + bytes) {
    const auto lock = TRY(LockPool(options_.state_dir));
    pool = TRY(FreeSpace(dir_));  // Another process may have grown it meanwhile.
    // All that is promised to be free in the pool must be there on the host.
    const auto unbacked = TRY(Unbacked(ImagePath(options_.state_dir)));
    const auto promised = std::min(pool.free, unbacked) + options_.reserve_bytes;
    const auto possible = host.free > promised ? host.free - promised : 0;
    const auto growth = std::min(std::max(pool.total / 4, bytes), possible);
    if (pool.free < pool.total / 8 + bytes && growth >= kSmallestGrowth) {
      TRY(Grow(growth));
      pool = TRY(FreeSpace(dir_));
    }
  }
  const auto needed = KeptForRunning(pool.total) + bytes;
  if (pool.free >= needed) return {};
  return std::unexpected(Full(dir_, pool.free, needed));
}

Result<Library::Space> Pool::Space() const {
  const auto pool = TRY(FreeSpace(dir_));
  Library::Space space{
      .free_bytes = pool.free, .total_bytes = pool.total, .most_bytes = pool.total};
  if (has_image_) {
    const auto unbacked = TRY(Unbacked(ImagePath(options_.state_dir)));
    const auto host = TRY(FreeSpace(options_.state_dir));
    const auto usable = host.free > options_.reserve_bytes ? host.free - options_.reserve_bytes : 0;
    // Blocks that the image lacks are free only while the host has them.
    if (unbacked > usable) space.free_bytes = std::min(space.free_bytes, usable);
    space.most_bytes = pool.total + (usable > unbacked ? usable - unbacked : 0);
  }
  return space;
}

Result<> Pool::Close(const std::string& state_dir) {
  if (!sys::Exists(state_dir)) return {};
  const auto real = TRY(RealPath(state_dir));
  const auto pool = PoolDir(real);
  const auto image_path = ImagePath(real);
  const bool has_image = sys::Exists(image_path);
  if (!has_image && !sys::Exists(pool)) return {};
  const auto lock = TRY(LockPool(real));
  if (!has_image) return UnprotectPool(pool, real);
  const auto image = TRY(sys::Open(image_path, O_RDWR | O_NOFOLLOW));
  auto device = TRY(sys::FindLoop(image));
  const std::string device_path = device ? device->path : "";
  const auto mount = TRY(sys::FindMount(pool));
  const auto busy = [&] {
    const std::string users = PoolUsers(pool, device_path);
    return std::unexpected(
        base::Error(Code::kFailedPrecondition,
                    fmt::format("unmount pool '{}': it is in use: {}", pool,
                                users.empty() ? "no process is found that has it" : users))
            .WithRemedy("Remove the sandboxes that are still running, end these processes, then "
                        "try again."));
  };
  // The kernel lets go of the mount and of the device a moment after their last user has ended, on
  // a busy host seconds; a VM that lives has the pool mounted in a namespace of its own.
  const auto deadline = base::Deadline::After(std::chrono::seconds(10));
  if (mount && device && mount->source == device->path) {
    while (::umount2(pool.c_str(), UMOUNT_NOFOLLOW) != 0) {
      if (errno != EBUSY) return FailErrno(errno, fmt::format("unmount pool '{}'", pool));
      if (deadline.passed()) return busy();
      ::poll(nullptr, 0, 10);
    }
  }
  if (device) TRY(sys::DetachLoop(*std::exchange(device, std::nullopt)));
  while (TRY(sys::FindLoop(image))) {
    if (deadline.passed()) return busy();
    ::poll(nullptr, 0, 10);
  }
  return {};
}

}  // namespace tinderbox::image
