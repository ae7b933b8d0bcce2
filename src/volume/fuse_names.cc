// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Names in directories: made, found, moved, removed.
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "volume/fuse_server.h"

namespace tinderbox::volume {

int FuseServer::Lookup(const fuse_in_header& head, Body& body) {
  const char* name = nullptr;
  Node* parent = nullptr;
  if (!body.Name(name)) return -ENOENT;
  if (const int fd = Parent(head, parent); fd < 0) return fd;
  return ReplyEntry(*parent, name);
}

int FuseServer::ReadLink(const fuse_in_header& head, Body&) {
  Node* const node = nodes_.Find(head.nodeid);
  if (node == nullptr) return -ESTALE;
  const int fd = nodes_.FdOf(*node);
  if (fd < 0) return fd;
  const ssize_t size = ::readlinkat(fd, "", answer_.data() + sizeof(fuse_out_header), PATH_MAX - 1);
  if (size < 0) return -errno;
  answer_size_ = static_cast<std::size_t>(size);
  return 0;
}

int FuseServer::SymLink(const fuse_in_header& head, Body& body) {
  const char* name = nullptr;
  const char* target = nullptr;
  if (!body.Name(name) || !body.Text(target)) return -EINVAL;
  Node* parent = nullptr;
  const int fd = Parent(head, parent);
  if (fd < 0) return fd;
  if (const int room = CheckRoom(0); room < 0) return room;
  if (::symlinkat(target, fd, name) != 0) return -errno;
  Count(kChargePerFile);
  if (const int owned = TakeOwner(fd, name, head); owned < 0) return owned;
  return ReplyEntry(*parent, name);
}

// No devices: they would be the host's.
int FuseServer::MakeNode(const fuse_in_header& head, Body& body) {
  fuse_mknod_in in{};
  const char* name = nullptr;
  if (!body.Read(in) || !body.Name(name)) return -EINVAL;
  const std::uint32_t type = in.mode & S_IFMT;
  if (type != S_IFREG && type != S_IFIFO && type != S_IFSOCK) return -EPERM;
  Node* parent = nullptr;
  const int fd = Parent(head, parent);
  if (fd < 0) return fd;
  if (const int room = CheckRoom(0); room < 0) return room;
  if (::mknodat(fd, name, type | (in.mode & 0777), 0) != 0) return -errno;
  Count(kChargePerFile);
  if (const int owned = TakeOwner(fd, name, head); owned < 0) return owned;
  return ReplyEntry(*parent, name);
}

int FuseServer::MakeDirectory(const fuse_in_header& head, Body& body) {
  fuse_mkdir_in in{};
  const char* name = nullptr;
  if (!body.Read(in) || !body.Name(name)) return -EINVAL;
  Node* parent = nullptr;
  const int fd = Parent(head, parent);
  if (fd < 0) return fd;
  if (const int room = CheckRoom(0); room < 0) return room;
  if (::mkdirat(fd, name, in.mode & 01777) != 0) return -errno;
  Count(kChargePerFile);
  if (const int owned = TakeOwner(fd, name, head); owned < 0) return owned;
  return ReplyEntry(*parent, name);
}

int FuseServer::Unlink(const fuse_in_header& head, Body& body) {
  const char* name = nullptr;
  Node* parent = nullptr;
  if (!body.Name(name)) return -EINVAL;
  const int fd = Parent(head, parent);
  if (fd < 0) return fd;
  const Victim victim = LookAtVictim(fd, name);
  if (::unlinkat(fd, name, 0) != 0) return -errno;
  CountRemoved(victim);
  return 0;
}

int FuseServer::RemoveDirectory(const fuse_in_header& head, Body& body) {
  const char* name = nullptr;
  Node* parent = nullptr;
  if (!body.Name(name)) return -EINVAL;
  const int fd = Parent(head, parent);
  if (fd < 0) return fd;
  if (::unlinkat(fd, name, AT_REMOVEDIR) != 0) return -errno;
  Count(-static_cast<std::int64_t>(kChargePerFile));
  return 0;
}

int FuseServer::Rename(const fuse_in_header& head, Body& body) {
  fuse_rename_in in{};
  if (!body.Read(in)) return -EINVAL;
  return RenameAs(head, body, in.newdir, 0);
}

int FuseServer::Rename2(const fuse_in_header& head, Body& body) {
  fuse_rename2_in in{};
  if (!body.Read(in)) return -EINVAL;
  if ((in.flags & ~unsigned{RENAME_NOREPLACE | RENAME_EXCHANGE}) != 0) return -EINVAL;
  return RenameAs(head, body, in.newdir, in.flags);
}

int FuseServer::RenameAs(const fuse_in_header& head, Body& body, std::uint64_t to_id,
                         unsigned flags) {
  const char* name = nullptr;
  const char* new_name = nullptr;
  if (!body.Name(name) || !body.Name(new_name)) return -EINVAL;
  fuse_in_header other = head;
  other.nodeid = to_id;
  Node* from = nullptr;
  Node* to = nullptr;
  // Either leaves the other's descriptor alone (NodeTable::FdOf).
  const int from_fd = Parent(head, from);
  if (from_fd < 0) return from_fd;
  const int to_fd = Parent(other, to);
  if (to_fd < 0) return to_fd;
  const bool exchange = (flags & RENAME_EXCHANGE) != 0;
  const Victim victim = exchange ? Victim{} : LookAtVictim(to_fd, new_name);
  const Victim moved = exchange ? Victim{} : LookAtVictim(from_fd, name);
  if (::syscall(SYS_renameat2, from_fd, name, to_fd, new_name, flags) != 0) return -errno;
  // A file that is renamed to itself stays.
  if (KeyOf(victim.st) != KeyOf(moved.st)) CountRemoved(victim);
  const auto note = [this](Node& parent, int fd, const char* as) {
    struct statx st{};
    if (::statx(fd, as, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &st) == 0) {
      nodes_.Moved(parent, as, st);
    }
  };
  note(*to, to_fd, new_name);
  if ((flags & RENAME_EXCHANGE) != 0) note(*from, from_fd, name);
  return 0;
}

int FuseServer::Link(const fuse_in_header& head, Body& body) {
  fuse_link_in in{};
  const char* name = nullptr;
  if (!body.Read(in) || !body.Name(name)) return -EINVAL;
  Node* const node = nodes_.Find(in.oldnodeid);
  Node* const around = node == nullptr ? nullptr : nodes_.Find(node->parent);
  if (around == nullptr) return -ESTALE;
  const int old_fd = nodes_.FdOf(*around);
  if (old_fd < 0) return old_fd;
  Node* parent = nullptr;
  const int fd = Parent(head, parent);
  if (fd < 0) return fd;
  // By its name: by its descriptor takes a capability with which one could open any file of the
  // host's.
  const std::string old_name = node->name;
  if (::linkat(old_fd, old_name.c_str(), fd, name, 0) != 0) return -errno;
  return ReplyEntry(*parent, name);
}

}  // namespace tinderbox::volume
