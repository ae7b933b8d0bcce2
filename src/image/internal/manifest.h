// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "image/library.h"

// The manifest.json that stands beside a kernel's and a template's files and says what they must
// be. Written last, so that a directory without one is never taken for whole. Parsing is strict: a
// missing, mistyped or out-of-range field is kDataLoss and names the field.
namespace tinderbox::image {

inline constexpr int kKernelFormat = 1;
inline constexpr int kTemplateFormat = 2;
inline constexpr std::size_t kMaxManifestBytes = 1 << 20;

struct KernelManifest {
  std::string version;  // "6.1.0-41-cloud-amd64"
  std::string package;  // "linux-image-6.1.0-41-cloud-amd64"
  std::uint64_t vmlinux_bytes = 0;
  std::string vmlinux_sha256;
  std::vector<std::string> modules;  // file names below modules/, in loading order
  std::string agent_sha256;          // what the initramfs was built of
  int initramfs_version = 0;
  std::uint64_t initrd_bytes = 0;
};

// Of everything that is a SavedKind. It carries a checksum of itself: a flipped bit is refused.
struct TemplateManifest {
  Template info;          // no paths: they follow from where the manifest stands
  std::string recipe;     // hash of what the template was built by; empty for those of users
  std::string state_sum;  // SHA-256 of vmm.state
  std::string disk_sum;   // SparseSum of disk.img and of memory.img; empty until it is sealed
  std::string memory_sum;
};

std::string ToJson(const KernelManifest& manifest);
std::string ToJson(const TemplateManifest& manifest);
base::Result<KernelManifest> ParseKernelManifest(std::string_view json);
base::Result<TemplateManifest> ParseTemplateManifest(std::string_view json);

// Whether `name` may name a template: 1-64 characters of [a-z0-9-_], the first a letter or digit.
bool IsValidTemplateName(std::string_view name);

std::string_view KindName(SavedKind kind);

}  // namespace tinderbox::image
