// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/cpio.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <iterator>

namespace tinderbox::image {

using base::Code;
using base::Fail;
using base::Result;

namespace {

constexpr std::size_t kMaxFile = 0xffffffff;

// The name of the entry that ends an archive: whoever reads it stops there.
constexpr std::string_view kTrailer = "TRAILER!!!";

bool IsPlainPath(std::string_view path) {
  // A directory of that name would be an entry too.
  if (path.substr(0, path.find('/')) == kTrailer || path.contains('\0')) return false;
  while (true) {
    const auto slash = path.find('/');
    const auto part = path.substr(0, slash);
    if (part.empty() || part == "." || part == "..") return false;
    if (slash == std::string_view::npos) return true;
    path.remove_prefix(slash + 1);
  }
}

void Pad(std::string& archive) { archive.append((4 - archive.size() % 4) % 4, '\0'); }

struct Header {
  std::uint32_t inode = 0;
  std::uint32_t mode = 0;
  std::uint32_t links = 1;
  std::uint32_t size = 0;
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
};

void AppendHeader(std::string& archive, const Header& header, std::string_view name) {
  // magic, inode, mode, uid, gid, links, mtime, size, device (2), special device (2), name, check
  fmt::format_to(std::back_inserter(archive),
                 "070701{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}"
                 "{:08X}{}",
                 header.inode, header.mode, 0, 0, header.links, 0, header.size, 0, 0, header.major,
                 header.minor, name.size() + 1, 0, name);
  archive.push_back('\0');
  Pad(archive);
}

}  // namespace

Result<> CpioBuilder::Add(const std::string& path, Node node) {
  if (!IsPlainPath(path)) {
    return Fail(Code::kInvalidArgument, fmt::format("add '{}' to an archive: bad path", path));
  }
  if (node.content.size() > kMaxFile) {
    return Fail(Code::kInvalidArgument, fmt::format("add '{}' to an archive: too large", path));
  }
  for (auto slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    const auto [parent, added] =
        nodes_.try_emplace(path.substr(0, slash), Node{.mode = S_IFDIR | 0755});
    if (!S_ISDIR(parent->second.mode)) {
      return Fail(Code::kInvalidArgument,
                  fmt::format("add '{}' to an archive: '{}' is no directory", path, parent->first));
    }
  }
  if (!nodes_.try_emplace(path, std::move(node)).second) {
    return Fail(Code::kInvalidArgument, fmt::format("add '{}' to an archive: there already", path));
  }
  return {};
}

Result<> CpioBuilder::AddFile(const std::string& path, std::string content,
                              std::uint32_t permissions) {
  return Add(path, Node{.mode = S_IFREG | permissions, .content = std::move(content)});
}

Result<> CpioBuilder::AddDirectory(const std::string& path, std::uint32_t permissions) {
  return Add(path, Node{.mode = S_IFDIR | permissions, .content = {}});
}

Result<> CpioBuilder::AddCharDevice(const std::string& path, std::uint32_t permissions,
                                    std::uint32_t major, std::uint32_t minor) {
  return Add(path,
             Node{.mode = S_IFCHR | permissions, .content = {}, .major = major, .minor = minor});
}

std::string CpioBuilder::Build() const {
  std::string archive;
  std::uint32_t inode = 0;
  for (const auto& [path, node] : nodes_) {
    AppendHeader(archive,
                 Header{.inode = ++inode,
                        .mode = node.mode,
                        .links = S_ISDIR(node.mode) ? 2u : 1u,
                        .size = static_cast<std::uint32_t>(node.content.size()),
                        .major = node.major,
                        .minor = node.minor},
                 path);
    archive.append(node.content);
    Pad(archive);
  }
  AppendHeader(archive, Header{}, kTrailer);
  return archive;
}

}  // namespace tinderbox::image
