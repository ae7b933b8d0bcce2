// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "volume/node_table.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>
#include <vector>

namespace tinderbox::volume {
namespace {

constexpr unsigned kStatMask = STATX_BASIC_STATS | STATX_BTIME;
constexpr std::size_t kMaxDepth = 2048;

int StatAt(int directory, const char* name, struct statx& st) {
  const int flags = AT_SYMLINK_NOFOLLOW | (*name == '\0' ? AT_EMPTY_PATH : 0);
  return ::statx(directory, name, flags, kStatMask, &st) == 0 ? 0 : -errno;
}

}  // namespace

InodeKey KeyOf(const struct statx& st) {
  InodeKey key{.number = st.stx_ino};
  if ((st.stx_mask & STATX_BTIME) != 0) {
    key.born_sec = st.stx_btime.tv_sec;
    key.born_nsec = st.stx_btime.tv_nsec;
  }
  return key;
}

NodeTable::NodeTable(sys::UniqueFd root) {
  auto node = std::make_unique<Node>();
  struct statx st{};
  static_cast<void>(StatAt(root.get(), "", st));
  node->id = kRoot;
  node->key = KeyOf(st);
  node->type = S_IFDIR;
  node->lookups = 1;
  node->opens = 1;
  node->fd = std::move(root);
  by_inode_[node->key] = kRoot;
  nodes_[kRoot] = std::move(node);
}

Node* NodeTable::Find(std::uint64_t id) {
  const auto found = nodes_.find(id);
  return found == nodes_.end() ? nullptr : found->second.get();
}

Node* NodeTable::FindInode(const struct statx& st) {
  const auto known = by_inode_.find(KeyOf(st));
  return known == by_inode_.end() ? nullptr : Find(known->second);
}

void NodeTable::CloseFd(Node& node) {
  if (node.id == kRoot || node.opens > 0 || !node.fd) return;
  used_.erase(node.used);
  node.fd.Reset();
}

Node* NodeTable::Enter(const Node& parent, std::string_view name, const struct statx& st) {
  const InodeKey key = KeyOf(st);
  if (const auto known = by_inode_.find(key); known != by_inode_.end()) {
    Node* const node = Find(known->second);
    ++node->lookups;
    if (node->id != kRoot) {
      node->parent = parent.id;
      node->name = name;
    }
    return node;
  }
  if (nodes_.size() >= kMaxNodes) return nullptr;
  auto node = std::make_unique<Node>();
  node->id = next_++;
  node->parent = parent.id;
  node->name = name;
  node->key = key;
  node->type = st.stx_mode & S_IFMT;
  node->lookups = 1;
  Node* const entered = node.get();
  by_inode_[key] = entered->id;
  nodes_[entered->id] = std::move(node);
  return entered;
}

void NodeTable::Forget(std::uint64_t id, std::uint64_t lookups) {
  Node* const node = Find(id);
  if (node == nullptr || id == kRoot) return;
  node->lookups -= std::min(node->lookups, lookups);
  if (node->lookups > 0 || node->opens > 0) return;
  if (node->fd) used_.erase(node->used);
  by_inode_.erase(node->key);
  nodes_.erase(id);
}

void NodeTable::Moved(const Node& parent, std::string_view name, const struct statx& st) {
  const auto known = by_inode_.find(KeyOf(st));
  if (known == by_inode_.end() || known->second == kRoot) return;
  Node* const node = Find(known->second);
  node->parent = parent.id;
  node->name = name;
}

// By name, from the nearest ancestor that has a descriptor.
int NodeTable::Walk(Node& node, sys::UniqueFd& fd) {
  std::vector<Node*> way = {&node};
  int at = -1;
  while (at < 0) {
    if (way.size() > kMaxDepth) return -ESTALE;
    Node* const parent = Find(way.back()->parent);
    if (parent == nullptr) return -ESTALE;
    if (parent->fd) {
      at = parent->fd.get();
    } else {
      way.push_back(parent);
    }
  }
  for (; !way.empty(); way.pop_back()) {
    const Node& next = *way.back();
    sys::UniqueFd opened(::openat(at, next.name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!opened) return errno == ENOENT || errno == ENOTDIR ? -ESTALE : -errno;
    struct statx st{};
    if (const int error = StatAt(opened.get(), "", st); error < 0) return error;
    if (KeyOf(st) != next.key) return -ESTALE;
    fd = std::move(opened);
    at = fd.get();
  }
  return 0;
}

void NodeTable::Keep(Node& node, sys::UniqueFd fd) {
  node.fd = std::move(fd);
  used_.push_front(&node);
  node.used = used_.begin();
  if (used_.size() <= kMaxDescriptors) return;
  // The one that was not used for the longest time; those that are open do not count.
  for (auto at = std::prev(used_.end()); at != used_.begin(); --at) {
    if ((*at)->opens > 0) continue;
    (*at)->fd.Reset();
    used_.erase(at);
    return;
  }
}

int NodeTable::FdOf(Node& node) {
  if (node.id == kRoot) return node.fd.get();
  if (node.fd) {
    used_.splice(used_.begin(), used_, node.used);
    return node.fd.get();
  }
  sys::UniqueFd fd;
  if (const int error = Walk(node, fd); error < 0) return error;
  Keep(node, std::move(fd));
  return node.fd.get();
}

int NodeTable::Stat(Node& node, struct statx& st) {
  if (node.fd) return StatAt(node.fd.get(), "", st);
  // Most are only ever looked at: they need no descriptor of their own.
  Node* const parent = Find(node.parent);
  if (parent == nullptr) return -ESTALE;
  const int directory = FdOf(*parent);
  if (directory < 0) return directory;
  if (const int error = StatAt(directory, node.name.c_str(), st); error < 0) {
    return error == -ENOENT ? -ESTALE : error;
  }
  return KeyOf(st) == node.key ? 0 : -ESTALE;
}

int NodeTable::Open(Node& node, int flags) {
  if (node.type != S_IFREG && node.type != S_IFDIR) return -ENXIO;
  // O_NONBLOCK, and a look afterwards: the name may be another file's by now, a FIFO even.
  flags |= O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  int opened = -1;
  if (node.type == S_IFDIR) {
    const int fd = FdOf(node);
    if (fd < 0) return fd;
    opened = ::openat(fd, ".", flags | O_DIRECTORY);
  } else {
    Node* const parent = Find(node.parent);
    if (parent == nullptr) return -ESTALE;
    const int directory = FdOf(*parent);
    if (directory < 0) return directory;
    opened = ::openat(directory, node.name.c_str(), flags);
  }
  if (opened < 0) return errno == ENOENT ? -ESTALE : -errno;
  struct statx st{};
  const int error = StatAt(opened, "", st);
  if (error == 0 && KeyOf(st) == node.key) return opened;
  ::close(opened);
  return error < 0 ? error : -ESTALE;
}

int NodeTable::Pin(Node& node) {
  const int fd = FdOf(node);
  if (fd >= 0) ++node.opens;
  return fd;
}

void NodeTable::Unpin(Node& node) {
  if (node.opens > 0) --node.opens;
  if (node.opens == 0 && node.lookups == 0) Forget(node.id, 0);
}

}  // namespace tinderbox::volume
