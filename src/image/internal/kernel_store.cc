// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/kernel_store.h"

#include <fmt/format.h>

#include <map>
#include <set>
#include <utility>
#include <vector>

#include "image/internal/apt.h"
#include "image/internal/checksum.h"
#include "image/internal/deb.h"
#include "image/internal/decompress.h"
#include "image/internal/initramfs.h"
#include "image/internal/kernel_image.h"
#include "image/internal/manifest.h"
#include "image/internal/module_order.h"
#include "image/internal/workspace.h"
#include "sys/file.h"

namespace tinderbox::image {

using base::Code;
using base::Fail;
using base::Result;

namespace {

constexpr std::size_t kMaxAgentBytes = 256 << 20;
constexpr std::size_t kMaxModuleBytes = 64 << 20;
constexpr std::uint64_t kRoomNeeded = 512ull << 20;
constexpr std::string_view kRemedy = "Run 'tinderboxd prepare' as root.";

// What a sandbox needs of its kernel; what they need in turn is found by OrderModules(). Most
// kernels have some of them built in.
const std::vector<std::string> kWantedModules = {
    "virtio_mmio",     // the bus of both VMMs
    "virtio_blk",      // the disk
    "virtio_net",      // the network
    "virtio_rng",      // entropy
    "virtio_balloon",  // memory given back to the host
    "ext4",            // the root file system
    "fuse",            // volumes
};

// What is taken out of a kernel package.
struct Package {
  std::string version;                              // "6.1.0-56-cloud-amd64"
  std::string image;                                // vmlinuz
  std::string builtin;                              // modules.builtin
  std::map<std::string, std::string> modules;       // by module name, as in the package
  std::map<std::string, std::string> module_files;  // module name → file name without compression
};

bool IsModule(std::string_view path) {
  return path.ends_with(".ko") || path.ends_with(".ko.xz") || path.ends_with(".ko.zst") ||
         path.ends_with(".ko.gz");
}

Result<> TakeModule(Package& package, const std::string& path, std::string content) {
  const auto compression = DetectCompression(content);
  if (compression != Compression::kNone) {
    content = TRY_CTX(Decompress(compression, content, kMaxModuleBytes), path);
  }
  std::string file = path.substr(path.rfind('/') + 1);
  file.resize(file.find(".ko") + 3);
  const auto name = ModuleName(file);
  package.module_files[name] = std::move(file);
  package.modules[name] = std::move(content);
  return {};
}

Result<Package> ReadPackage(const std::string& deb) {
  constexpr std::string_view kImage = "boot/vmlinuz-";
  Package package;
  DebVisitor visitor;
  visitor.wants = [&](std::string_view path) {
    return path.starts_with(kImage) || path.ends_with("/modules.builtin") || IsModule(path);
  };
  visitor.take = [&](std::string path, std::string content) -> Result<> {
    if (path.starts_with(kImage)) {
      package.version = path.substr(kImage.size());
      package.image = std::move(content);
    } else if (path.ends_with("/modules.builtin")) {
      package.builtin = std::move(content);
    } else {
      return TakeModule(package, path, std::move(content));
    }
    return {};
  };
  TRY(ReadDeb(deb, visitor));
  if (package.image.empty()) {
    return Fail(Code::kFailedPrecondition,
                fmt::format("read package '{}': it holds no kernel (boot/vmlinuz-…)", deb));
  }
  return package;
}

Result<std::string> ReadAgent(const std::string& path) {
  auto agent = sys::ReadFile(path, kMaxAgentBytes);
  if (agent) return agent;
  return std::unexpected(
      std::move(agent)
          .error()
          .WithContext("read the guest agent")
          .WithRemedy("Build and install tinderbox-agent, or configure where it is."));
}

// Builds <dir>/initrd.img out of the agent and <dir>/modules, and fills in the manifest's part.
Result<> WriteInitrd(const std::string& dir, std::string agent, KernelManifest& manifest) {
  manifest.agent_sha256 = Sha256Hex(agent);
  manifest.initramfs_version = kInitramfsVersion;
  InitramfsContent content;
  content.init = std::move(agent);
  for (const auto& file : manifest.modules) {
    content.modules.emplace_back(
        file, TRY(sys::ReadFile(fmt::format("{}/modules/{}", dir, file), kMaxModuleBytes)));
  }
  const auto initrd = TRY(BuildInitramfs(std::move(content)));
  manifest.initrd_bytes = initrd.size();
  return sys::WriteFileAtomic(dir + "/initrd.img", initrd, 0644);
}

Result<KernelManifest> ReadManifest(const std::string& dir) {
  const auto path = dir + "/manifest.json";
  const auto text = TRY(sys::ReadFile(path, kMaxManifestBytes));
  return TRY_CTX(ParseKernelManifest(text), fmt::format("'{}'", path));
}

Result<> CheckFile(const std::string& path, std::uint64_t bytes) {
  const auto st = sys::Stat(path);
  if (st && st->st_size == static_cast<off_t>(bytes)) return {};
  return std::unexpected(
      base::Error(Code::kDataLoss, st ? fmt::format("open kernel: '{}' has {} bytes instead of {}",
                                                    path, st->st_size, bytes)
                                      : fmt::format("open kernel: '{}' is missing", path))
          .WithRemedy(std::string(kRemedy)));
}

}  // namespace

KernelStore::KernelStore(Options options) : options_(std::move(options)) {}

std::string KernelStore::Dir(const std::string& version) const {
  return fmt::format("{}/kernels/{}", options_.state_dir, version);
}

Result<Kernel> KernelStore::Load(const std::string& version) const {
  const auto dir = Dir(version);
  auto manifest = ReadManifest(dir);
  if (!manifest) {
    return std::unexpected(base::Error(Code::kDataLoss, fmt::format("open kernel '{}': {}", version,
                                                                    manifest.error().ToString()))
                               .WithRemedy(std::string(kRemedy)));
  }
  Kernel kernel{.version = version, .vmlinux = dir + "/vmlinux", .initrd = dir + "/initrd.img"};
  kernel.build = fmt::format("{} {}", manifest->agent_sha256, manifest->initramfs_version);
  TRY(CheckFile(kernel.vmlinux, manifest->vmlinux_bytes));
  TRY(CheckFile(kernel.initrd, manifest->initrd_bytes));
  if (auto checked = CheckVmlinuxFile(kernel.vmlinux); !checked) {
    return std::unexpected(std::move(checked).error().WithRemedy(std::string(kRemedy)));
  }
  return kernel;
}

Result<Kernel> KernelStore::Current() const {
  const auto file = TRY(sys::OpenIfExists(options_.state_dir + "/kernels/current", 0));
  if (!file) {
    return std::unexpected(
        base::Error(Code::kFailedPrecondition, "find a kernel: none was prepared")
            .WithRemedy(std::string(kRemedy)));
  }
  auto version = TRY(sys::ReadAll(*file, 256));
  while (version.ends_with('\n')) version.pop_back();
  if (version.empty() || version.contains('/') || version.starts_with('.')) {
    return std::unexpected(
        base::Error(Code::kDataLoss, fmt::format("find a kernel: '{}/kernels/current' is damaged",
                                                 options_.state_dir))
            .WithRemedy(std::string(kRemedy)));
  }
  return Load(version);
}

Result<Kernel> KernelStore::Refresh(const std::string& version, const Progress& progress) {
  auto kernel = TRY(Load(version));
  auto manifest = TRY(ReadManifest(Dir(version)));
  auto agent = TRY(ReadAgent(options_.agent));
  if (manifest.initramfs_version != kInitramfsVersion) {
    return std::unexpected(
        base::Error(Code::kAborted,
                    fmt::format("open kernel '{}': it was prepared by another version", version))
            .WithRemedy("Run 'tinderboxd prepare' again where the Debian archive can be reached."));
  }
  if (manifest.agent_sha256 != Sha256Hex(agent)) {
    progress("building the initramfs anew: the agent has changed");
    TRY(WriteInitrd(Dir(version), std::move(agent), manifest));
    TRY(sys::WriteFileAtomic(Dir(version) + "/manifest.json", ToJson(manifest)));
  }
  TRY(sys::WriteFileAtomic(options_.state_dir + "/kernels/current", version + "\n"));
  return kernel;
}

Result<Kernel> KernelStore::Prepare(const Progress& progress) {
  const auto workspace = TRY(Workspace::Enter(options_.state_dir, progress));
  const auto package = ResolveKernelPackage(options_.package);
  if (package) {
    auto kernel = Refresh(package->substr(std::string_view("linux-image-").size()), progress);
    // Only an unusable agent is no reason to download the kernel again.
    if (kernel || kernel.error().code() == Code::kNotFound ||
        kernel.error().code() == Code::kFailedPrecondition) {
      return kernel;
    }
  } else if (const auto current = Current()) {
    // A host that is off line, or has lost its package lists, keeps the kernel that it has.
    progress(fmt::format("keeping kernel {}: {}", current->version, package.error().ToString()));
    return Refresh(current->version, progress);
  }
  TRY(RequireFreeSpace(workspace.dir(), kRoomNeeded));
  const auto dir = TRY(workspace.MakeDir("kernel"));
  const auto download = TRY(DownloadKernelPackage(options_.package, dir, progress));
  return Install(download.package, download.path, dir, progress);
}

Result<Kernel> KernelStore::Install(const std::string& package, const std::string& deb,
                                    const std::string& work_dir, const Progress& progress) {
  auto agent = TRY(ReadAgent(options_.agent));
  progress(fmt::format("unpacking {}", package));
  auto content = TRY(ReadPackage(deb));
  const auto vmlinux = TRY_CTX(ExtractVmlinux(content.image), package);
  const auto order =
      TRY(OrderModules(kWantedModules, content.modules, ParseBuiltin(content.builtin)));

  const auto dir = work_dir + "/new";
  TRY(sys::MakeDirs(dir + "/modules"));
  TRY(sys::WriteFileAtomic(dir + "/vmlinux", vmlinux));
  KernelManifest manifest;
  manifest.version = content.version;
  manifest.package = package;
  manifest.vmlinux_bytes = vmlinux.size();
  manifest.vmlinux_sha256 = Sha256Hex(vmlinux);
  for (const auto& name : order) {
    const auto& file = content.module_files[name];
    TRY(sys::WriteFileAtomic(fmt::format("{}/modules/{}", dir, file), content.modules[name]));
    manifest.modules.push_back(file);
  }
  progress("building the initramfs");
  TRY(WriteInitrd(dir, std::move(agent), manifest));
  TRY(sys::WriteFileAtomic(dir + "/manifest.json", ToJson(manifest)));
  TRY(sys::MakeDirs(options_.state_dir + "/kernels"));
  TRY(ReplaceDirectory(dir, Dir(content.version)));
  TRY(sys::WriteFileAtomic(options_.state_dir + "/kernels/current", content.version + "\n"));
  return Load(content.version);
}

}  // namespace tinderbox::image
