// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/loop.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string_view>

#include "sys/directory.h"
#include "sys/file.h"

namespace tinderbox::sys {

using base::Code;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::uint32_t kBlockSize = 4096;

// Whether loop device `device` stands on the file of `wanted`.
bool StandsOn(FdRef device, const struct stat& wanted) {
  loop_info64 info{};
  if (::ioctl(device.get(), LOOP_GET_STATUS64, &info) != 0) return false;
  // The kernel reports the device in its "new" encoding, which makedev(3) shares up to 32 bits.
  return info.lo_inode == wanted.st_ino &&
         static_cast<std::uint32_t>(info.lo_device) == static_cast<std::uint32_t>(wanted.st_dev);
}

base::Error NoLoopDevice(int err, const std::string& path) {
  return base::Error::FromErrno(err, fmt::format("attach '{}' to a loop device", path))
      .WithRemedy(
          "See that /dev/loop-control exists and that loop devices are free "
          "(losetup -a), or put the state directory on XFS or btrfs.");
}

// Tries one device; false where another process was quicker.
Result<bool> Configure(FdRef device, FdRef file, const std::string& path) {
  loop_config config{};
  config.fd = static_cast<std::uint32_t>(file.get());
  config.block_size = kBlockSize;
  config.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
  std::memcpy(config.info.lo_file_name, path.data(),
              std::min(path.size(), sizeof config.info.lo_file_name - 1));
  if (::ioctl(device.get(), LOOP_CONFIGURE, &config) == 0) return true;
  if (errno == EINVAL) {
    // tmpfs and the like have no direct I/O.
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
    if (::ioctl(device.get(), LOOP_CONFIGURE, &config) == 0) return true;
  }
  if (errno == EBUSY) return false;
  return std::unexpected(NoLoopDevice(errno, path));
}

}  // namespace

Result<std::optional<LoopDevice>> FindLoop(FdRef file) {
  struct stat wanted{};
  if (::fstat(file.get(), &wanted) != 0) return FailErrno(errno, "stat the loop device's file");
  for (const auto& name : TRY(NamesIn("/sys/block"))) {
    // The directory `loop` is there for as long as the device is attached.
    if (!name.starts_with("loop") || !Exists(fmt::format("/sys/block/{}/loop", name))) continue;
    const std::string path = "/dev/" + name;
    auto fd = Open(path, O_RDWR);
    if (fd && StandsOn(*fd, wanted)) return LoopDevice{path, std::move(*fd)};
  }
  return std::optional<LoopDevice>();
}

Result<LoopDevice> AttachLoop(FdRef file, const std::string& path) {
  auto control = Open("/dev/loop-control", O_RDWR);
  if (!control) return std::unexpected(NoLoopDevice(control.error().errno_value(), path));
  // Another process may take the free device first; it cannot win every time.
  for (int attempt = 0; attempt < 64; ++attempt) {
    const int number = ::ioctl(control->get(), LOOP_CTL_GET_FREE);
    if (number < 0) return std::unexpected(NoLoopDevice(errno, path));
    std::string name = fmt::format("/dev/loop{}", number);
    auto device = Open(name, O_RDWR);
    if (!device) return std::unexpected(NoLoopDevice(device.error().errno_value(), path));
    if (TRY(Configure(*device, file, path))) return LoopDevice{std::move(name), std::move(*device)};
  }
  return std::unexpected(NoLoopDevice(EBUSY, path));
}

Result<> RefreshLoopSize(const LoopDevice& device) {
  if (::ioctl(device.fd.get(), LOOP_SET_CAPACITY) == 0) return {};
  return FailErrno(errno, fmt::format("refresh the size of '{}'", device.path));
}

Result<> DetachLoop(LoopDevice device) {
  if (::ioctl(device.fd.get(), LOOP_CLR_FD) == 0 || errno == ENXIO) return {};
  return FailErrno(errno, fmt::format("detach '{}'", device.path));
}

}  // namespace tinderbox::sys
