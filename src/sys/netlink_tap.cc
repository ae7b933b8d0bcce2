// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/netlink_tap.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

#include "sys/file.h"

namespace tinderbox::sys {
namespace {

constexpr char kTunDevice[] = "/dev/net/tun";

base::Result<ifreq> Request(const std::string& name, int flags) {
  ifreq request{};
  if (name.empty() || name.size() >= sizeof(request.ifr_name)) {
    return base::Fail(base::Code::kInvalidArgument, fmt::format("name a TAP device '{}'", name));
  }
  std::memcpy(request.ifr_name, name.data(), name.size());
  request.ifr_flags = static_cast<short>(flags);
  return request;
}

base::Result<UniqueFd> OpenDevice() {
  auto fd = Open(kTunDevice, O_RDWR | O_NONBLOCK);
  if (!fd && (fd.error().errno_value() == ENOENT || fd.error().errno_value() == ENODEV)) {
    return std::unexpected(
        std::move(fd).error().WithRemedy("Load the kernel module: modprobe tun."));
  }
  return fd;
}

}  // namespace

base::Result<> AddTap(const std::string& name, uid_t owner, gid_t group) {
  const UniqueFd fd = TRY_CTX(OpenDevice(), fmt::format("make TAP '{}'", name));
  // The kernel takes over the flags of whoever attaches later (Firecracker wants IFF_VNET_HDR, QEMU
  // asks for what it likes); only IFF_MULTI_QUEUE would bind them. TUN_EXCL: never attach here.
  ifreq request = TRY(Request(name, IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL));
  if (ioctl(fd.get(), TUNSETIFF, &request) != 0) {
    const int err = errno == EBUSY ? EEXIST : errno;
    return base::FailErrno(err, fmt::format("make TAP '{}'", name));
  }
  // Until the last of these the device goes away with this descriptor, so a failure leaves none.
  if (ioctl(fd.get(), TUNSETOWNER, static_cast<unsigned long>(owner)) != 0 ||
      ioctl(fd.get(), TUNSETGROUP, static_cast<unsigned long>(group)) != 0 ||
      ioctl(fd.get(), TUNSETPERSIST, 1UL) != 0) {
    return base::FailErrno(errno, fmt::format("give TAP '{}' to uid {}", name, owner));
  }
  return {};
}

base::Result<UniqueFd> OpenTap(const std::string& name, bool vnet_header) {
  if (if_nametoindex(name.c_str()) == 0) {
    return base::FailErrno(errno, fmt::format("open TAP '{}'", name));
  }
  UniqueFd fd = TRY_CTX(OpenDevice(), fmt::format("open TAP '{}'", name));
  ifreq request = TRY(Request(name, IFF_TAP | IFF_NO_PI | (vnet_header ? IFF_VNET_HDR : 0)));
  if (ioctl(fd.get(), TUNSETIFF, &request) != 0) {
    return base::FailErrno(errno, fmt::format("attach to TAP '{}'", name));
  }
  return fd;
}

}  // namespace tinderbox::sys
