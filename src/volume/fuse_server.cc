// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "volume/fuse_server.h"

#include <fcntl.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace tinderbox::volume {
namespace {

constexpr int kNoAnswer = 1;  // of an operation, instead of 0 or a negative errno
constexpr std::uint32_t kPage = 4096;
constexpr std::uint32_t kOldestMinor = 31;  // Linux 5.4
constexpr std::size_t kLongestName = 255;

// What the guest's kernel may do. Data that it keeps is dropped where size or time have changed.
constexpr std::uint32_t kFlags = FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_PARALLEL_DIROPS |
                                 FUSE_MAX_PAGES | FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS |
                                 FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO;

}  // namespace

FuseServer::FuseServer(sys::UniqueFd root, std::uint64_t reserve_bytes,
                       std::shared_ptr<Usage> usage)
    : nodes_(std::move(root)),
      reserve_bytes_(reserve_bytes),
      usage_(std::move(usage)),
      answer_(sizeof(fuse_out_header) + kMaxIo),
      entries_(kMaxIo) {}

bool FuseServer::Body::Text(const char*& text) {
  const void* const end = std::memchr(rest.data(), '\0', rest.size());
  if (rest.empty() || end == nullptr) return false;
  text = rest.data();
  rest = rest.subspan(static_cast<std::size_t>(static_cast<const char*>(end) - text) + 1);
  return true;
}

bool FuseServer::Body::Name(const char*& name) {
  if (!Text(name)) return false;
  const std::string_view text = name;
  return !text.empty() && text != "." && text != ".." && text.size() <= kLongestName &&
         text.find('/') == text.npos;
}

FuseServer::Operation FuseServer::Find(std::uint32_t opcode) {
  switch (opcode) {
    case FUSE_LOOKUP: return &FuseServer::Lookup;
    case FUSE_FORGET: return &FuseServer::Forget;
    case FUSE_GETATTR: return &FuseServer::GetAttributes;
    case FUSE_SETATTR: return &FuseServer::SetAttributes;
    case FUSE_READLINK: return &FuseServer::ReadLink;
    case FUSE_SYMLINK: return &FuseServer::SymLink;
    case FUSE_MKNOD: return &FuseServer::MakeNode;
    case FUSE_MKDIR: return &FuseServer::MakeDirectory;
    case FUSE_UNLINK: return &FuseServer::Unlink;
    case FUSE_RMDIR: return &FuseServer::RemoveDirectory;
    case FUSE_RENAME: return &FuseServer::Rename;
    case FUSE_RENAME2: return &FuseServer::Rename2;
    case FUSE_LINK: return &FuseServer::Link;
    case FUSE_OPEN: return &FuseServer::Open;
    case FUSE_CREATE: return &FuseServer::Create;
    case FUSE_READ: return &FuseServer::Read;
    case FUSE_WRITE: return &FuseServer::Write;
    case FUSE_STATFS: return &FuseServer::StatFs;
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR: return &FuseServer::Release;
    case FUSE_FSYNC:
    case FUSE_FSYNCDIR: return &FuseServer::Sync;
    case FUSE_INIT: return &FuseServer::Init;
    case FUSE_OPENDIR: return &FuseServer::OpenDirectory;
    case FUSE_READDIR: return &FuseServer::ReadDirectory;
    case FUSE_READDIRPLUS: return &FuseServer::ReadDirectoryPlus;
    case FUSE_INTERRUPT: return &FuseServer::Interrupt;
    case FUSE_DESTROY: return &FuseServer::Destroy;
    case FUSE_BATCH_FORGET: return &FuseServer::BatchForget;
    case FUSE_FALLOCATE: return &FuseServer::Allocate;
    case FUSE_LSEEK: return &FuseServer::Seek;
    default: return nullptr;
  }
}

bool FuseServer::Handle(std::span<const char> message, std::string_view& answer) {
  answer = {};
  Body body{message};
  fuse_in_header head{};
  if (!body.Read(head) || head.len != message.size()) return false;
  const Operation operation = Find(head.opcode);
  answer_size_ = 0;
  const int result = operation == nullptr ? -ENOSYS : (this->*operation)(head, body);
  if (result == kNoAnswer) return true;
  const fuse_out_header out{
      .len = static_cast<std::uint32_t>(sizeof(fuse_out_header) + (result < 0 ? 0 : answer_size_)),
      .error = result,
      .unique = head.unique};
  std::memcpy(answer_.data(), &out, sizeof out);
  answer = {answer_.data(), out.len};
  return true;
}

int FuseServer::Init(const fuse_in_header&, Body& body) {
  struct {
    std::uint32_t major, minor, max_readahead, flags;
  } in{};  // what all versions send
  if (!body.Read(in)) return -EINVAL;
  if (in.major != FUSE_KERNEL_VERSION || in.minor < kOldestMinor) return -EPROTO;
  fuse_init_out out{};
  out.major = FUSE_KERNEL_VERSION;
  out.minor = std::min<std::uint32_t>(in.minor, FUSE_KERNEL_MINOR_VERSION);
  out.max_readahead = std::min<std::uint32_t>(in.max_readahead, kMaxIo);
  out.flags = in.flags & kFlags;
  out.max_background = 32;
  out.congestion_threshold = 24;
  out.max_write = kMaxIo;
  out.time_gran = 1;
  out.max_pages = kMaxIo / kPage;
  ready_ = true;
  return Reply(out);
}

int FuseServer::Destroy(const fuse_in_header&, Body&) { return 0; }

int FuseServer::Interrupt(const fuse_in_header&, Body&) { return kNoAnswer; }

int FuseServer::Forget(const fuse_in_header& head, Body& body) {
  fuse_forget_in in{};
  if (body.Read(in)) nodes_.Forget(head.nodeid, in.nlookup);
  return kNoAnswer;
}

int FuseServer::BatchForget(const fuse_in_header&, Body& body) {
  fuse_batch_forget_in in{};
  if (!body.Read(in)) return kNoAnswer;
  fuse_forget_one one{};
  for (std::uint32_t i = 0; i < in.count && body.Read(one); ++i) {
    nodes_.Forget(one.nodeid, one.nlookup);
  }
  return kNoAnswer;
}

int FuseServer::StatFs(const fuse_in_header&, Body&) {
  struct statfs fs{};
  if (::fstatfs(nodes_.FdOf(*nodes_.Find(NodeTable::kRoot)), &fs) != 0) return -errno;
  const auto block = static_cast<std::uint64_t>(std::max<long>(fs.f_bsize, 1));
  const std::uint64_t kept = reserve_bytes_ / block;
  fuse_statfs_out out{};
  out.st.blocks = fs.f_blocks;
  out.st.bavail = fs.f_bavail > kept ? fs.f_bavail - kept : 0;
  if (usage_ && usage_->limit() != 0) {
    const std::uint64_t limit = usage_->limit();
    const std::uint64_t left = limit - std::min(limit, usage_->used());
    out.st.blocks = std::min<std::uint64_t>(out.st.blocks, limit / block);
    out.st.bavail = std::min<std::uint64_t>(out.st.bavail, left / block);
  }
  out.st.bfree = out.st.bavail;
  out.st.files = fs.f_files;
  out.st.ffree = fs.f_ffree;
  out.st.bsize = static_cast<std::uint32_t>(block);
  out.st.frsize = static_cast<std::uint32_t>(block);
  out.st.namelen = kLongestName;
  return Reply(out);
}

int FuseServer::CheckRoom(std::uint64_t bytes) const {
  struct statfs fs{};
  const int root = const_cast<NodeTable&>(nodes_).Find(NodeTable::kRoot)->fd.get();
  if (::fstatfs(root, &fs) != 0) return -errno;
  const std::uint64_t free = fs.f_bavail * static_cast<std::uint64_t>(fs.f_bsize);
  if (free < reserve_bytes_ || free - reserve_bytes_ < bytes) return -ENOSPC;
  return CheckLimit(bytes);
}

int FuseServer::CheckLimit(std::uint64_t bytes) const {
  if (!usage_) return 0;
  if (usage_->closed()) return -ENOSPC;
  return usage_->Fits(bytes) ? 0 : -EDQUOT;
}

int FuseServer::CheckWrite(int fd, std::uint64_t offset, std::uint64_t length) const {
  const int room = CheckRoom(length);
  if (room != -EDQUOT) return room;
  const off_t end = static_cast<off_t>(offset + length);
  const off_t hole = ::lseek(fd, static_cast<off_t>(offset), SEEK_HOLE);
  return hole >= end && end > 0 ? 0 : -EDQUOT;
}

void FuseServer::Count(std::int64_t bytes) {
  if (usage_) usage_->Add(bytes);
}

FuseServer::Victim FuseServer::LookAtVictim(int directory, const char* name) const {
  Victim victim{};
  if (!usage_) return victim;
  if (::statx(directory, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &victim.st) ==
      0) {
    victim.last_name = victim.st.stx_nlink == 1 || S_ISDIR(victim.st.stx_mode);
  }
  return victim;
}

// An open file stays counted until it is closed (Release): its blocks are not free yet.
void FuseServer::CountRemoved(const Victim& victim) {
  if (!victim.last_name) return;
  if (Node* const node = nodes_.FindInode(victim.st); node != nullptr) {
    node->removed = true;
    if (node->opens > 0) return;
    nodes_.CloseFd(*node);
  }
  Count(-ChargeOf(victim.st));
}

std::int64_t ChargeOf(const struct statx& st) {
  return static_cast<std::int64_t>(ChargeOf(st.stx_mode, st.stx_size, st.stx_blocks));
}

std::int64_t ChargeOf(int fd) {
  struct statx st{};
  return ::statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st) == 0 ? ChargeOf(st) : 0;
}

int FuseServer::Parent(const fuse_in_header& head, Node*& parent) {
  parent = nodes_.Find(head.nodeid);
  if (parent == nullptr) return -ESTALE;
  if (parent->type != S_IFDIR) return -ENOTDIR;
  return nodes_.FdOf(*parent);
}

int FuseServer::ReplyEntry(Node& parent, const char* name) {
  const int directory = nodes_.FdOf(parent);
  if (directory < 0) return directory;
  struct statx st{};
  if (::statx(directory, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &st) != 0) {
    return -errno;
  }
  const Node* const node = nodes_.Enter(parent, name, st);
  if (node == nullptr) return -ENOMEM;
  return Reply(EntryOf(*node, st));
}

fuse_entry_out FuseServer::EntryOf(const Node& node, const struct statx& st) {
  fuse_entry_out out{};
  out.nodeid = node.id;
  out.entry_valid_nsec = kValidity;
  out.attr_valid_nsec = kValidity;
  out.attr = AttributesOf(st);
  return out;
}

FuseServer::HandleState* FuseServer::HandleOf(std::uint64_t id, bool directory) {
  const auto found = handles_.find(id);
  if (found == handles_.end() || found->second.directory != directory) return nullptr;
  return &found->second;
}

int FuseServer::AddHandle(Node& node, sys::UniqueFd fd, bool directory, std::uint64_t& id) {
  if (handles_.size() >= kMaxHandles) return -ENFILE;
  if (const int pinned = nodes_.Pin(node); pinned < 0) return pinned;
  id = next_handle_++;
  handles_[id] = {.fd = std::move(fd), .node = node.id, .directory = directory};
  return 0;
}

// For a file that has no name any more: whatever it was opened as.
int FuseServer::AnyHandleOf(const Node& node) const {
  for (const auto& [id, handle] : handles_) {
    if (handle.node == node.id) return handle.fd.get();
  }
  return -ESTALE;
}

// What the guest's user made is its own; in a directory with the set-group-id bit it has the
// directory's group.
int FuseServer::TakeOwner(int directory, const char* name, const fuse_in_header& head) {
  struct statx around{};
  if (::statx(directory, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &around) != 0) return -errno;
  const gid_t gid = (around.stx_mode & S_ISGID) != 0 ? around.stx_gid : head.gid;
  return ::fchownat(directory, name, head.uid, gid, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : -errno;
}

fuse_attr AttributesOf(const struct statx& st) {
  fuse_attr out{};
  out.ino = st.stx_ino;
  out.size = st.stx_size;
  out.blocks = st.stx_blocks;
  out.atime = static_cast<std::uint64_t>(st.stx_atime.tv_sec);
  out.mtime = static_cast<std::uint64_t>(st.stx_mtime.tv_sec);
  out.ctime = static_cast<std::uint64_t>(st.stx_ctime.tv_sec);
  out.atimensec = st.stx_atime.tv_nsec;
  out.mtimensec = st.stx_mtime.tv_nsec;
  out.ctimensec = st.stx_ctime.tv_nsec;
  out.mode = st.stx_mode;
  out.nlink = st.stx_nlink;
  out.uid = st.stx_uid;
  out.gid = st.stx_gid;
  out.blksize = kPage;
  return out;
}

}  // namespace tinderbox::volume
