// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Directories, as they are listed.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "volume/fuse_server.h"

namespace tinderbox::volume {
namespace {

// As getdents64(2) has it.
struct KernelEntry {
  std::uint64_t inode;
  std::uint64_t next;
  unsigned short size;
  unsigned char type;
  char name[];
};

}  // namespace

int FuseServer::OpenDirectory(const fuse_in_header& head, Body&) {
  Node* const node = nodes_.Find(head.nodeid);
  if (node == nullptr) return -ESTALE;
  if (node->type != S_IFDIR) return -ENOTDIR;
  const int fd = nodes_.Open(*node, O_RDONLY | O_DIRECTORY);
  if (fd < 0) return fd;
  fuse_open_out out{};
  if (const int error = AddHandle(*node, sys::UniqueFd(fd), true, out.fh); error < 0) return error;
  return Reply(out);
}

int FuseServer::ReadDirectory(const fuse_in_header& head, Body& body) {
  return ReadEntries(head, body, false);
}

int FuseServer::ReadDirectoryPlus(const fuse_in_header& head, Body& body) {
  return ReadEntries(head, body, true);
}

int FuseServer::ReadEntries(const fuse_in_header&, Body& body, bool plus) {
  fuse_read_in in{};
  if (!body.Read(in)) return -EINVAL;
  const HandleState* const handle = HandleOf(in.fh, true);
  if (handle == nullptr) return -EBADF;
  Node* const node = nodes_.Find(handle->node);
  if (node == nullptr) return -ESTALE;
  const int fd = handle->fd.get();
  const std::size_t limit = std::min<std::size_t>(in.size, kMaxIo);
  if (::lseek(fd, static_cast<off_t>(in.offset), SEEK_SET) < 0) return -errno;
  // No more than fits: what does not fit is read again, from its offset.
  const long size =
      ::syscall(SYS_getdents64, fd, entries_.data(), std::max<std::size_t>(limit, 512));
  if (size < 0) return -errno;
  for (long at = 0; at < size;) {
    const auto* const entry = reinterpret_cast<const KernelEntry*>(entries_.data() + at);
    if (!AddEntry(*node, fd, entry->name, entry->inode, entry->type, entry->next, limit, plus))
      break;
    at += entry->size;
  }
  return 0;
}

// False where it does not fit any more.
bool FuseServer::AddEntry(Node& directory, int fd, const char* name, std::uint64_t inode,
                          std::uint32_t type, std::uint64_t next, std::size_t limit, bool plus) {
  const std::string_view text = name;
  const std::size_t head = plus ? FUSE_NAME_OFFSET_DIRENTPLUS : FUSE_NAME_OFFSET;
  const std::size_t size = FUSE_DIRENT_ALIGN(head + text.size());
  if (answer_size_ + size > limit) return false;
  char* out = answer_.data() + sizeof(fuse_out_header) + answer_size_;
  std::memset(out, 0, size);
  if (plus) {
    fuse_entry_out entry{};
    struct statx st{};
    // Node 0: the kernel asks when it needs to know. So too for what is gone by now.
    if (text != "." && text != ".." &&
        ::statx(fd, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &st) == 0) {
      if (const Node* const node = nodes_.Enter(directory, text, st)) {
        entry = EntryOf(*node, st);
      }
    }
    std::memcpy(out, &entry, sizeof entry);
    out += sizeof entry;
  }
  const fuse_dirent dirent{
      .ino = inode, .off = next, .namelen = static_cast<std::uint32_t>(text.size()), .type = type};
  std::memcpy(out, &dirent, FUSE_NAME_OFFSET);
  std::memcpy(out + FUSE_NAME_OFFSET, text.data(), text.size());
  answer_size_ += size;
  return true;
}

}  // namespace tinderbox::volume
