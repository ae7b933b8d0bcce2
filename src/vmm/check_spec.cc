// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/check_spec.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <net/if.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <span>

#include "base/id.h"
#include "sys/file.h"

namespace tinderbox::vmm {

using base::Code;
using base::Error;
using base::Result;

namespace {

std::unexpected<Error> Invalid(std::string message, std::string remedy) {
  return std::unexpected(
      Error(Code::kInvalidArgument, std::move(message)).WithRemedy(std::move(remedy)));
}

Result<> CheckPath(const std::string& path, std::string_view what, bool needed) {
  if (path.empty() && !needed) return {};
  if (path.empty())
    return Invalid(fmt::format("no {} is given", what), fmt::format("Name a {} file.", what));
  if (path[0] != '/' || path.find('\0') != std::string::npos)
    return Invalid(fmt::format("{} '{}' is no absolute path", what, path),
                   "Give an absolute path.");
  return {};
}

// 0x20-0x7e: what a kernel takes, and what needs no escape in anything it passes on the way.
bool IsPrintable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
}

bool IsMac(std::string_view mac) {
  if (mac.size() != 17) return false;
  for (std::size_t i = 0; i < mac.size(); ++i) {
    const auto c = static_cast<unsigned char>(mac[i]);
    if (i % 3 == 2 ? c != ':' : std::isxdigit(c) == 0) return false;
  }
  return true;
}

bool IsInterfaceName(std::string_view name) {
  return name.size() < IFNAMSIZ && std::ranges::all_of(
                                       name,
                                       [](char c) {
                                         return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
                                                c == '-' || c == '_' || c == '.';
                                       });
}

Result<> CheckSize(const VmSpec& spec, const HostFacts& host, const MachineLimits& limits) {
  if (spec.memory_mib < limits.min_memory_mib)
    return Invalid(fmt::format("memory of {} MiB is too little", spec.memory_mib),
                   fmt::format("Give the VM at least {} MiB.", limits.min_memory_mib));
  if (spec.memory_mib > host.memory_mib)
    return Invalid(fmt::format("memory of {} MiB is more than this host has ({} MiB)",
                               spec.memory_mib, host.memory_mib),
                   fmt::format("Give the VM less than {} MiB.", host.memory_mib));
  if (spec.cpus < 1 || spec.cpus > limits.max_cpus)
    return Invalid(fmt::format("{} CPUs are not possible", spec.cpus),
                   fmt::format("Give the VM 1 to {} CPUs.", limits.max_cpus));
  return {};
}

Result<> CheckNetwork(const VmSpec& spec) {
  TRY(CheckPath(spec.netns, "network namespace", false));
  if (spec.tap.empty()) return {};
  if (!IsInterfaceName(spec.tap))
    return Invalid(fmt::format("'{}' is no name of a network device", spec.tap),
                   "Name a TAP device inside the network namespace.");
  if (spec.netns.empty())
    return Invalid(fmt::format("TAP device '{}' is given without a network namespace", spec.tap),
                   "Name the network namespace in which the TAP device stands.");
  if (!spec.mac.empty() && !IsMac(spec.mac))
    return Invalid(fmt::format("'{}' is no MAC address", spec.mac),
                   "Write it as six pairs of hexadecimal digits with colons.");
  return {};
}

// Whether `head`, a file's beginning, is that of an ELF for this machine.
bool IsKernel(std::span<const char> head) {
  Elf64_Ehdr elf{};
  if (head.size() < sizeof elf) return false;
  std::memcpy(&elf, head.data(), sizeof elf);
  return std::memcmp(elf.e_ident, ELFMAG, SELFMAG) == 0 && elf.e_ident[EI_CLASS] == ELFCLASS64 &&
         elf.e_machine == EM_X86_64 && (elf.e_type == ET_EXEC || elf.e_type == ET_DYN) &&
         elf.e_phnum > 0;
}

Result<sys::UniqueFd> OpenImage(const std::string& path, std::string_view what) {
  // O_NONBLOCK: a FIFO in the file's place must not hang us.
  auto fd = sys::Open(path, O_RDONLY | O_NONBLOCK);
  if (!fd && fd.error().errno_value() == ENOENT)
    return std::unexpected(Error(Code::kNotFound, fmt::format("{} '{}' does not exist", what, path))
                               .WithRemedy(fmt::format("Name a {} that is there.", what)));
  sys::UniqueFd file = TRY_CTX(std::move(fd), fmt::format("open the {}", what));
  struct stat status{};
  if (::fstat(file.get(), &status) != 0)
    return base::FailErrno(errno, fmt::format("look at {} '{}'", what, path));
  if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
    return Invalid(fmt::format("{} '{}' is no file", what, path),
                   fmt::format("Name a {} file.", what));
  if (S_ISREG(status.st_mode) && status.st_size == 0)
    return Invalid(fmt::format("{} '{}' is empty", what, path),
                   fmt::format("Name a {} file with something in it.", what));
  return file;
}

// A VMM would refuse a file of another size, or find out when the guest touches what is missing.
Result<> CheckMemoryFile(const VmSpec& spec) {
  const sys::UniqueFd file = TRY(OpenImage(spec.memory_base, "memory file"));
  struct stat status{};
  if (::fstat(file.get(), &status) != 0)
    return base::FailErrno(errno, fmt::format("look at memory file '{}'", spec.memory_base));
  if (status.st_size == static_cast<off_t>(spec.memory_mib) << 20) return {};
  return std::unexpected(
      Error(Code::kDataLoss,
            fmt::format("memory file '{}' has {} bytes, and the VM {} MiB of memory",
                        spec.memory_base, status.st_size, spec.memory_mib))
          .WithRemedy(
              "Use a snapshot that is whole, and give the VM the memory it was saved with."));
}

}  // namespace

Result<> CheckSpec(const VmSpec& spec, const HostFacts& host, const MachineLimits& limits) {
  if (!base::IsValidVmId(spec.id))
    return Invalid(fmt::format("'{}' is no VM id", spec.id),
                   "Use 1 to 64 small letters, digits and dashes, a letter or digit first.");
  TRY(CheckPath(spec.run_dir, "run directory", true));
  TRY(CheckPath(spec.kernel, "kernel", spec.state.empty()));
  TRY(CheckPath(spec.initrd, "initrd", false));
  TRY(CheckPath(spec.rootfs, "root file system", false));
  TRY(CheckPath(spec.memory_base, "memory file", !spec.state.empty()));
  TRY(CheckPath(spec.state, "snapshot state", false));
  TRY(CheckPath(spec.snapshot_dir, "snapshot directory", false));
  if (spec.start_paused && spec.state.empty())
    return Invalid("only a restored guest can begin paused", "Name a snapshot's state, too.");
  TRY(CheckSize(spec, host, limits));
  TRY(CheckNetwork(spec));
  if (spec.cmdline.size() > limits.max_cmdline || !IsPrintable(spec.cmdline))
    return Invalid("the kernel command line is too long or has characters that no kernel takes",
                   fmt::format("Use at most {} printable ASCII characters.", limits.max_cmdline));
  if (spec.uid == 0 || spec.gid == 0)
    return Invalid("a VMM never runs as root", "Give the VM a uid and a gid of its own.");
  return {};
}

namespace {

Result<> CheckKernel(const VmSpec& spec) {
  const sys::UniqueFd kernel = TRY(OpenImage(spec.kernel, "kernel"));
  char head[sizeof(Elf64_Ehdr)];
  const ssize_t got = ::pread(kernel.get(), head, sizeof head, 0);
  if (got < 0) return base::FailErrno(errno, fmt::format("read kernel '{}'", spec.kernel));
  if (!IsKernel({head, static_cast<std::size_t>(got)}))
    return Invalid(
        fmt::format("'{}' is no kernel: not an uncompressed 64-bit x86 ELF file", spec.kernel),
        "Give a 'vmlinux'; a 'vmlinuz' or bzImage must be unpacked first.");
  if (!spec.initrd.empty()) TRY(OpenImage(spec.initrd, "initrd"));
  return {};
}

}  // namespace

Result<> CheckFiles(const VmSpec& spec) {
  if (spec.state.empty()) TRY(CheckKernel(spec));
  if (!spec.rootfs.empty()) TRY(OpenImage(spec.rootfs, "root file system"));
  if (!spec.state.empty()) TRY(OpenImage(spec.state, "snapshot state"));
  if (!spec.memory_base.empty()) TRY(CheckMemoryFile(spec));
  return {};
}

}  // namespace tinderbox::vmm
