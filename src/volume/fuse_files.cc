// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Files: attributes, and what is in them.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "volume/fuse_server.h"

namespace tinderbox::volume {
namespace {

timespec TimeOf(const fuse_setattr_in& in, std::uint32_t set, std::uint32_t now, std::uint64_t sec,
                std::uint32_t nsec) {
  if ((in.valid & now) != 0) return {0, UTIME_NOW};
  if ((in.valid & set) == 0 || nsec >= 1'000'000'000) return {0, UTIME_OMIT};
  return {static_cast<time_t>(sec), static_cast<long>(nsec)};
}

}  // namespace

int FuseServer::GetAttributes(const fuse_in_header& head, Body&) {
  Node* const node = nodes_.Find(head.nodeid);
  if (node == nullptr) return -ESTALE;
  struct statx st{};
  if (const int error = nodes_.Stat(*node, st); error < 0) return error;
  fuse_attr_out out{};
  out.attr_valid_nsec = kValidity;
  out.attr = AttributesOf(st);
  return Reply(out);
}

int FuseServer::SetSize(Node& node, const fuse_setattr_in& wanted) {
  if (node.type != S_IFREG) return -EINVAL;
  if ((wanted.valid & FATTR_FH) != 0) {
    const HandleState* const handle = HandleOf(wanted.fh, false);
    if (handle != nullptr && handle->node == node.id) {
      return Truncate(handle->fd.get(), wanted.size);
    }
  }
  const int opened = nodes_.Open(node, O_WRONLY);
  const sys::UniqueFd owned(opened);
  const int fd = opened >= 0 ? opened : AnyHandleOf(node);
  if (fd < 0) return opened;
  return Truncate(fd, wanted.size);
}

int FuseServer::Truncate(int fd, std::uint64_t size) {
  return Counted(fd, [&] { return ::ftruncate(fd, static_cast<off_t>(size)) == 0 ? 0 : -errno; });
}

// O_TRUNC is a step of its own, for it changes what is counted.
int FuseServer::OpenFile(Node& node, std::uint32_t wanted) {
  // O_APPEND is kept, so that what several guests append does not overwrite each other.
  const int flags = static_cast<int>(wanted) & (O_ACCMODE | O_APPEND | O_SYNC | O_DSYNC);
  const int fd = nodes_.Open(node, flags);
  if (fd < 0 || (wanted & O_TRUNC) == 0) return fd;
  int error = 0;
  if ((flags & O_ACCMODE) != O_RDONLY) {
    error = Truncate(fd, 0);
  } else {
    const sys::UniqueFd writable(nodes_.Open(node, O_WRONLY));
    error = writable ? Truncate(writable.get(), 0) : -EACCES;
  }
  if (error == 0) return fd;
  ::close(fd);
  return error;
}

int FuseServer::SetMode(Node& node, std::uint32_t mode) {
  mode &= 07777;
  if (node.type != S_IFREG && node.type != S_IFDIR) {
    // It is not to be opened, and has a name.
    Node* const parent = nodes_.Find(node.parent);
    if (parent == nullptr || node.type == S_IFLNK) return -EOPNOTSUPP;
    const int fd = nodes_.FdOf(*parent);
    if (fd < 0) return fd;
    return ::fchmodat(fd, node.name.c_str(), mode, 0) == 0 ? 0 : -errno;
  }
  const int opened = nodes_.Open(node, O_RDONLY);
  const sys::UniqueFd owned(opened);
  const int fd = opened >= 0 ? opened : AnyHandleOf(node);
  if (fd < 0) return opened;
  return ::fchmod(fd, mode) == 0 ? 0 : -errno;
}

int FuseServer::SetAttributes(const fuse_in_header& head, Body& body) {
  fuse_setattr_in in{};
  if (!body.Read(in)) return -EINVAL;
  Node* const node = nodes_.Find(head.nodeid);
  if (node == nullptr) return -ESTALE;
  if ((in.valid & (FATTR_UID | FATTR_GID)) != 0) {
    const uid_t uid = (in.valid & FATTR_UID) != 0 ? in.uid : static_cast<uid_t>(-1);
    const gid_t gid = (in.valid & FATTR_GID) != 0 ? in.gid : static_cast<gid_t>(-1);
    const int fd = nodes_.FdOf(*node);
    if (fd < 0) return fd;
    if (::fchownat(fd, "", uid, gid, AT_EMPTY_PATH) != 0) return -errno;
  }
  if ((in.valid & FATTR_MODE) != 0) {
    if (const int error = SetMode(*node, in.mode); error < 0) return error;
  }
  if ((in.valid & FATTR_SIZE) != 0) {
    if (const int error = SetSize(*node, in); error < 0) return error;
  }
  if ((in.valid & (FATTR_ATIME | FATTR_MTIME | FATTR_ATIME_NOW | FATTR_MTIME_NOW)) != 0) {
    const timespec times[2] = {TimeOf(in, FATTR_ATIME, FATTR_ATIME_NOW, in.atime, in.atimensec),
                               TimeOf(in, FATTR_MTIME, FATTR_MTIME_NOW, in.mtime, in.mtimensec)};
    const int fd = nodes_.FdOf(*node);
    if (fd < 0) return fd;
    if (::utimensat(fd, "", times, AT_EMPTY_PATH) != 0) return -errno;
  }
  return GetAttributes(head, body);
}

int FuseServer::Open(const fuse_in_header& head, Body& body) {
  fuse_open_in in{};
  if (!body.Read(in)) return -EINVAL;
  Node* const node = nodes_.Find(head.nodeid);
  if (node == nullptr) return -ESTALE;
  if (node->type != S_IFREG) return -ENXIO;
  const int fd = OpenFile(*node, in.flags);
  if (fd < 0) return fd;
  fuse_open_out out{};
  if (const int error = AddHandle(*node, sys::UniqueFd(fd), false, out.fh); error < 0) return error;
  return Reply(out);
}

int FuseServer::Create(const fuse_in_header& head, Body& body) {
  fuse_create_in in{};
  const char* name = nullptr;
  if (!body.Read(in) || !body.Name(name)) return -EINVAL;
  Node* parent = nullptr;
  const int directory = Parent(head, parent);
  if (directory < 0) return directory;
  if (const int room = CheckRoom(0); room < 0) return room;
  const int made = ::mknodat(directory, name, S_IFREG | (in.mode & 0777), 0);
  if (made != 0 && (errno != EEXIST || (in.flags & O_EXCL) != 0)) return -errno;
  if (made == 0) {
    Count(kChargePerFile);
    if (const int owned = TakeOwner(directory, name, head); owned < 0) return owned;
  }
  if (const int error = ReplyEntry(*parent, name); error < 0) return error;
  struct {
    fuse_entry_out entry;
    fuse_open_out open;
  } out{};
  __builtin_memcpy(&out.entry, answer_.data() + sizeof(fuse_out_header), sizeof out.entry);
  Node* const node = nodes_.Find(out.entry.nodeid);
  int error = OpenFile(*node, in.flags);
  if (error >= 0) error = AddHandle(*node, sys::UniqueFd(error), false, out.open.fh);
  if (error < 0) {
    nodes_.Forget(node->id, 1);  // the guest does not learn of it
    return error;
  }
  return Reply(out);
}

int FuseServer::Read(const fuse_in_header&, Body& body) {
  fuse_read_in in{};
  if (!body.Read(in)) return -EINVAL;
  const HandleState* const handle = HandleOf(in.fh, false);
  if (handle == nullptr) return -EBADF;
  const ssize_t n = ::pread(handle->fd.get(), answer_.data() + sizeof(fuse_out_header),
                            std::min<std::size_t>(in.size, kMaxIo), static_cast<off_t>(in.offset));
  if (n < 0) return -errno;
  answer_size_ = static_cast<std::size_t>(n);
  return 0;
}

int FuseServer::Write(const fuse_in_header&, Body& body) {
  fuse_write_in in{};
  if (!body.Read(in) || in.size > body.rest.size() || in.size > kMaxIo) return -EINVAL;
  const HandleState* const handle = HandleOf(in.fh, false);
  if (handle == nullptr) return -EBADF;
  const int fd = handle->fd.get();
  if (const int room = CheckWrite(fd, in.offset, in.size); room < 0) return room;
  const int written = Counted(fd, [&] {
    const ssize_t n = ::pwrite(fd, body.rest.data(), in.size, static_cast<off_t>(in.offset));
    return n < 0 ? -errno : static_cast<int>(n);
  });
  if (written < 0) return written;
  fuse_write_out out{};
  out.size = static_cast<std::uint32_t>(written);
  return Reply(out);
}

int FuseServer::Release(const fuse_in_header&, Body& body) {
  fuse_release_in in{};
  if (!body.Read(in)) return -EINVAL;
  const auto found = handles_.find(in.fh);
  if (found == handles_.end()) return -EBADF;
  Node* const node = nodes_.Find(found->second.node);
  if (node == nullptr) {
    handles_.erase(found);
    return 0;
  }
  const std::uint64_t id = node->id;
  const bool goes = usage_ && node->removed && node->opens == 1;
  const std::int64_t charge = goes ? ChargeOf(found->second.fd.get()) : 0;
  handles_.erase(found);
  nodes_.Unpin(*node);
  if (!goes) return 0;
  if (Node* const left = nodes_.Find(id); left != nullptr) nodes_.CloseFd(*left);
  Count(-charge);
  return 0;
}

int FuseServer::Sync(const fuse_in_header& head, Body& body) {
  fuse_fsync_in in{};
  if (!body.Read(in)) return -EINVAL;
  const HandleState* const handle = HandleOf(in.fh, head.opcode == FUSE_FSYNCDIR);
  if (handle == nullptr) return -EBADF;
  const bool data_only = (in.fsync_flags & FUSE_FSYNC_FDATASYNC) != 0;
  const int done = data_only ? ::fdatasync(handle->fd.get()) : ::fsync(handle->fd.get());
  return done == 0 ? 0 : -errno;
}

int FuseServer::Allocate(const fuse_in_header&, Body& body) {
  fuse_fallocate_in in{};
  if (!body.Read(in)) return -EINVAL;
  const HandleState* const handle = HandleOf(in.fh, false);
  if (handle == nullptr) return -EBADF;
  constexpr std::uint32_t kModes =
      FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
  if ((in.mode & ~kModes) != 0) return -EOPNOTSUPP;
  const int fd = handle->fd.get();
  if ((in.mode & FALLOC_FL_PUNCH_HOLE) == 0) {
    if (const int room = CheckWrite(fd, in.offset, in.length); room < 0) return room;
    // Blocks beyond the end are not counted (ChargeOf).
    struct statx st{};
    if (usage_ && (in.mode & FALLOC_FL_KEEP_SIZE) != 0 &&
        (::statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &st) != 0 || in.offset > st.stx_size ||
         in.length > st.stx_size - in.offset)) {
      return -EOPNOTSUPP;
    }
  }
  return Counted(fd, [&] {
    const int done = ::fallocate(fd, static_cast<int>(in.mode), static_cast<off_t>(in.offset),
                                 static_cast<off_t>(in.length));
    return done == 0 ? 0 : -errno;
  });
}

int FuseServer::Seek(const fuse_in_header&, Body& body) {
  fuse_lseek_in in{};
  if (!body.Read(in)) return -EINVAL;
  const HandleState* const handle = HandleOf(in.fh, false);
  if (handle == nullptr) return -EBADF;
  if (in.whence != SEEK_DATA && in.whence != SEEK_HOLE) return -EINVAL;
  const off_t at =
      ::lseek(handle->fd.get(), static_cast<off_t>(in.offset), static_cast<int>(in.whence));
  if (at < 0) return -errno;
  return Reply(fuse_lseek_out{.offset = static_cast<std::uint64_t>(at)});
}

}  // namespace tinderbox::volume
