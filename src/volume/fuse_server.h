// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <linux/fuse.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "sys/fd.h"
#include "volume/node_table.h"
#include "volume/usage.h"

namespace tinderbox::volume {

// A directory as a file system for a guest, which speaks FUSE's protocol as its kernel does. What
// it sends is hostile: every length, name and number is checked, and what it can make us keep is
// bounded. It is the guest's kernel that checks its users' permissions (mount option
// default_permissions); files belong to the guest's own users, by number.
//
// Several guests may have the same directory mounted, each with a server of its own: what one
// writes all others see at once. So a guest keeps what it was told about a file for kValidity only,
// just long enough that looking at one is one question and not two.
//
// Must run where the directory is the root of all that there is (server_jail.h), without umask.
class FuseServer {
 public:
  static constexpr std::size_t kMaxIo = 256 << 10;  // of one read or write
  static constexpr std::size_t kMaxRequest = kMaxIo + 8192;
  static constexpr std::size_t kMaxHandles = 4096;
  static constexpr std::uint32_t kValidity = 20'000'000;  // nanoseconds

  // `root`: O_PATH. Nothing more is taken in once less than `reserve_bytes` are free (ENOSPC), or
  // `usage` is at its limit (EDQUOT); null: without limit.
  FuseServer(sys::UniqueFd root, std::uint64_t reserve_bytes,
             std::shared_ptr<Usage> usage = nullptr);

  // Acts on one message (its first four bytes are its length) and yields the answer, valid until
  // the next call; empty where there is none. False where it is none of the protocol's: the guest
  // is to be left then.
  bool Handle(std::span<const char> message, std::string_view& answer);
  // The guest has mounted it and was told what we can do.
  bool ready() const { return ready_; }

 private:
  // What follows the header, read piece by piece.
  struct Body {
    std::span<const char> rest;
    template <typename T>
    bool Read(T& into);
    bool Name(const char*& name);  // one component: no slash, no dots
    bool Text(const char*& text);  // up to its NUL
  };
  struct HandleState {
    sys::UniqueFd fd;
    std::uint64_t node = 0;
    bool directory = false;
  };
  using Operation = int (FuseServer::*)(const fuse_in_header& head, Body& body);

  static Operation Find(std::uint32_t opcode);
  template <typename T>
  int Reply(const T& out);
  static fuse_entry_out EntryOf(const Node& node, const struct statx& st);
  int ReplyEntry(Node& parent, const char* name);
  int Parent(const fuse_in_header& head, Node*& parent);  // its descriptor
  HandleState* HandleOf(std::uint64_t id, bool directory);
  int AddHandle(Node& node, sys::UniqueFd fd, bool directory, std::uint64_t& id);
  int AnyHandleOf(const Node& node) const;
  int CheckRoom(std::uint64_t bytes) const;
  // The same for a write to that range of a file. Blocks that it has already do not count again.
  int CheckWrite(int fd, std::uint64_t offset, std::uint64_t length) const;
  int CheckLimit(std::uint64_t bytes) const;
  // Does what changes the file `fd`, and counts what it changed.
  template <typename Work>
  int Counted(int fd, Work&& work);
  void Count(std::int64_t bytes);
  // The bytes that the removal of a name frees: determined before it, counted after it.
  struct Victim {
    struct statx st;
    bool last_name = false;
  };
  Victim LookAtVictim(int directory, const char* name) const;
  void CountRemoved(const Victim& victim);
  static int TakeOwner(int directory, const char* name, const fuse_in_header& head);

  // fuse_server.cc
  int Init(const fuse_in_header& head, Body& body);
  int Destroy(const fuse_in_header& head, Body& body);
  int Forget(const fuse_in_header& head, Body& body);
  int BatchForget(const fuse_in_header& head, Body& body);
  int Interrupt(const fuse_in_header& head, Body& body);
  int StatFs(const fuse_in_header& head, Body& body);
  // fuse_names.cc
  int Lookup(const fuse_in_header& head, Body& body);
  int ReadLink(const fuse_in_header& head, Body& body);
  int SymLink(const fuse_in_header& head, Body& body);
  int MakeNode(const fuse_in_header& head, Body& body);
  int MakeDirectory(const fuse_in_header& head, Body& body);
  int Unlink(const fuse_in_header& head, Body& body);
  int RemoveDirectory(const fuse_in_header& head, Body& body);
  int Rename(const fuse_in_header& head, Body& body);
  int Rename2(const fuse_in_header& head, Body& body);
  int RenameAs(const fuse_in_header& head, Body& body, std::uint64_t to, unsigned flags);
  int Link(const fuse_in_header& head, Body& body);
  // fuse_files.cc
  int GetAttributes(const fuse_in_header& head, Body& body);
  int SetAttributes(const fuse_in_header& head, Body& body);
  int SetSize(Node& node, const fuse_setattr_in& wanted);
  int Truncate(int fd, std::uint64_t size);
  int OpenFile(Node& node, std::uint32_t flags);
  int SetMode(Node& node, std::uint32_t mode);
  int Open(const fuse_in_header& head, Body& body);
  int Create(const fuse_in_header& head, Body& body);
  int Read(const fuse_in_header& head, Body& body);
  int Write(const fuse_in_header& head, Body& body);
  int Release(const fuse_in_header& head, Body& body);
  int Sync(const fuse_in_header& head, Body& body);
  int Allocate(const fuse_in_header& head, Body& body);
  int Seek(const fuse_in_header& head, Body& body);
  // fuse_directories.cc
  int OpenDirectory(const fuse_in_header& head, Body& body);
  int ReadDirectory(const fuse_in_header& head, Body& body);
  int ReadDirectoryPlus(const fuse_in_header& head, Body& body);
  int ReadEntries(const fuse_in_header& head, Body& body, bool plus);
  bool AddEntry(Node& directory, int fd, const char* name, std::uint64_t inode, std::uint32_t type,
                std::uint64_t next, std::size_t limit, bool plus);

  NodeTable nodes_;
  const std::uint64_t reserve_bytes_;
  const std::shared_ptr<Usage> usage_;  // null: nothing is counted
  std::unordered_map<std::uint64_t, HandleState> handles_;
  std::uint64_t next_handle_ = 1;
  std::vector<char> answer_;     // its header, and what follows it
  std::size_t answer_size_ = 0;  // of what follows
  std::vector<char> entries_;    // of one directory, as the kernel has them
  bool ready_ = false;
};

fuse_attr AttributesOf(const struct statx& st);
std::int64_t ChargeOf(const struct statx& st);
std::int64_t ChargeOf(int fd);  // 0 if it cannot be told

template <typename T>
bool FuseServer::Body::Read(T& into) {
  if (rest.size() < sizeof(T)) return false;
  __builtin_memcpy(&into, rest.data(), sizeof(T));
  rest = rest.subspan(sizeof(T));
  return true;
}

template <typename Work>
int FuseServer::Counted(int fd, Work&& work) {
  if (!usage_) return work();
  const std::int64_t before = ChargeOf(fd);
  const int result = work();
  Count(ChargeOf(fd) - before);
  return result;
}

template <typename T>
int FuseServer::Reply(const T& out) {
  __builtin_memcpy(answer_.data() + sizeof(fuse_out_header), &out, sizeof(T));
  answer_size_ = sizeof(T);
  return 0;
}

}  // namespace tinderbox::volume
