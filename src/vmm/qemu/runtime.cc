// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/qemu/runtime.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "sys/file.h"

namespace tinderbox::vmm::qemu {

using base::Result;

namespace {

// Relative to the folder above the program's; QEMU looks there first.
constexpr const char* kModuleFolders[] = {"lib/x86_64-linux-gnu/qemu", "lib64/qemu", "lib/qemu"};
// Debian's microvm firmware is in the first one, its BIOS (a link from the first) in the second.
constexpr const char* kDataFolders[] = {"share/qemu", "share/seabios"};
// pthread_exit(3) loads it.
constexpr const char* kUnwinder = "libgcc_s.so.1";

bool IsFolder(const std::string& path) {
  const auto status = sys::Stat(path);
  return status && S_ISDIR(status->st_mode);
}

// The modules without which a machine does not start. The rest is for devices that no VM has.
std::vector<std::string> Accelerators(const std::string& folder) {
  std::vector<std::string> modules;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("accel-") && name.ends_with(".so")) modules.push_back(entry.path());
  }
  std::ranges::sort(modules);
  return modules;
}

// Changes when the file is replaced or written.
std::string Identity(const std::string& path) {
  const auto status = sys::Stat(path);
  if (!status) return "-";
  return fmt::format("{}:{}:{}:{}.{}", status->st_dev, status->st_ino, status->st_size,
                     status->st_mtim.tv_sec, status->st_mtim.tv_nsec);
}

}  // namespace

Runtime::Runtime(std::string qemu, LibraryPlaces places)
    : qemu_(std::move(qemu)), places_(std::move(places)) {}

std::string Runtime::Fingerprint() const {
  // ldconfig(8) writes the cache anew whenever a package's library changes.
  return Identity(qemu_) + " " + Identity(places_.cache);
}

Result<std::vector<JailBind>> Runtime::Binds() {
  const std::lock_guard lock(mutex_);
  std::string now = Fingerprint();
  if (now == fingerprint_) return binds_;
  binds_ = TRY_CTX(Compute(), fmt::format("find what QEMU '{}' needs", qemu_));
  fingerprint_ = std::move(now);
  return binds_;
}

Result<std::vector<JailBind>> Runtime::Compute() const {
  const std::filesystem::path prefix = std::filesystem::path(qemu_).parent_path().parent_path();
  std::vector<std::string> modules;
  for (const char* folder : kModuleFolders) {
    for (std::string& module : Accelerators(prefix / folder)) modules.push_back(std::move(module));
  }
  std::vector<JailBind> binds;
  for (const std::string& path :
       TRY(ProgramFiles({.program = qemu_, .modules = modules, .optional = {kUnwinder}}, places_)))
    binds.push_back({.source = path, .target = path, .read_only = true, .executable = true});
  for (const auto& above : {prefix, std::filesystem::path("/usr")}) {
    for (const char* folder : kDataFolders) {
      const std::string path = above / folder;
      const bool known = std::ranges::find(binds, path, &JailBind::target) != binds.end();
      if (!known && IsFolder(path)) binds.push_back({.source = path, .target = path});
    }
  }
  return binds;
}

}  // namespace tinderbox::vmm::qemu
