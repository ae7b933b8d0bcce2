// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>

#include "sys/fd.h"

namespace tinderbox::volume {

// Which inode it is: its number alone may be another file's once this one is gone.
struct InodeKey {
  std::uint64_t number = 0;
  std::int64_t born_sec = 0;
  std::uint32_t born_nsec = 0;
  bool operator==(const InodeKey&) const = default;
};
InodeKey KeyOf(const struct statx& st);

struct InodeKeyHash {
  std::size_t operator()(const InodeKey& key) const {
    return std::hash<std::uint64_t>()(key.number ^ (std::uint64_t{key.born_nsec} << 32));
  }
};

// A file or directory that the guest's kernel knows by a number.
struct Node {
  std::uint64_t id = 0;
  std::uint64_t parent = 0;  // where it was last seen, under `name`
  std::string name;
  InodeKey key;
  std::uint32_t type = 0;           // S_IFMT of its mode
  std::uint64_t lookups = 0;        // how often the guest was told of it; it takes as many back
  std::uint32_t opens = 0;          // while there are any, its descriptor stays
  bool removed = false;             // its last name went through this server
  sys::UniqueFd fd;                 // O_PATH; may be closed, and opened again by name
  std::list<Node*>::iterator used;  // in the list of those with a descriptor
};

// The nodes of one mount. How many there are is the guest's doing, so nodes are bounded, and only
// those lately used have a descriptor; the others are found again by name, and are stale where
// another file has that name by now. Errors are negative errno values.
class NodeTable {
 public:
  static constexpr std::uint64_t kRoot = 1;
  static constexpr std::size_t kMaxNodes = 1'000'000;
  static constexpr std::size_t kMaxDescriptors = 1024;

  explicit NodeTable(sys::UniqueFd root);

  Node* Find(std::uint64_t id);
  Node* FindInode(const struct statx& st);  // null if the guest does not know it
  // The node of that inode, told to the guest once more; null where there are too many.
  Node* Enter(const Node& parent, std::string_view name, const struct statx& st);
  void Forget(std::uint64_t id, std::uint64_t lookups);
  // The inode of `st` is called so by now.
  void Moved(const Node& parent, std::string_view name, const struct statx& st);

  // Its O_PATH descriptor, valid until the one after next is asked for. -ESTALE, …
  int FdOf(Node& node);
  // A descriptor with other flags; never of anything but this very file or directory, which must be
  // one of these.
  int Open(Node& node, int flags);
  int Stat(Node& node, struct statx& st);
  // The node's descriptor is kept from here to Unpin.
  int Pin(Node& node);
  void Unpin(Node& node);
  // For a file without a name: a descriptor would keep its blocks. Not while it is pinned.
  void CloseFd(Node& node);

  std::size_t size() const { return nodes_.size(); }

 private:
  int Walk(Node& node, sys::UniqueFd& fd);
  void Keep(Node& node, sys::UniqueFd fd);

  std::unordered_map<std::uint64_t, std::unique_ptr<Node>> nodes_;
  std::unordered_map<InodeKey, std::uint64_t, InodeKeyHash> by_inode_;
  std::list<Node*> used_;  // most lately used first; not the root
  std::uint64_t next_ = kRoot + 1;
};

}  // namespace tinderbox::volume
