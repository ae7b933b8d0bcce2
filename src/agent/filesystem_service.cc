// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/filesystem_service.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "agent/entry_info.h"
#include "agent/freeze.h"
#include "agent/paths.h"
#include "sys/file.h"

namespace tinderbox::agent {
namespace {

namespace json = boost::json;
using net::ConnectCode;

// An answer of more entries than this would be larger than clients take.
constexpr std::size_t kMaxEntries = 100'000;

std::unexpected<net::ConnectError> FromBase(const base::Error& error) {
  return RpcFail(net::ConnectCodeFromBase(error.code()), error.ToString());
}

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

// The names in a directory, sorted.
RpcResult<std::vector<std::string>> Names(const std::string& path) {
  const std::unique_ptr<DIR, CloseDir> dir(::opendir(path.c_str()));
  if (!dir) {
    return RpcFail(net::ConnectCodeFromBase(base::CodeFromErrno(errno)),
                   fmt::format("error reading directory '{}': {}", path, std::strerror(errno)));
  }
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
    if (names.size() > kMaxEntries) {
      return RpcFail(ConnectCode::kResourceExhausted,
                     fmt::format("directory '{}' has more than {} entries", path, kMaxEntries));
    }
  }
  std::ranges::sort(names);
  return names;
}

// Pre-order. Links below the root are listed, not followed.
RpcResult<> Walk(const std::string& path, std::uint32_t depth, const NameTable& names,
                 json::array& out) {
  RPC_TRY(const std::vector<std::string> children, Names(path));
  for (const std::string& name : children) {
    const std::string child = path == "/" ? "/" + name : path + "/" + name;
    const base::Result<Entry> entry = ReadEntry(child);
    // Removed since, or of a kind that clients do not know: pipes, sockets, broken links.
    if (!entry) continue;
    if (entry->type == FileType::kUnspecified && !entry->is_symlink) continue;
    if (out.size() >= kMaxEntries) {
      return RpcFail(ConnectCode::kResourceExhausted,
                     fmt::format("more than {} entries", kMaxEntries));
    }
    out.push_back(EntryJson(*entry, names));
    if (depth > 1 && entry->type == FileType::kDirectory && !entry->is_symlink) {
      // A directory that went away meanwhile is no error of the whole.
      const RpcResult<> walked = Walk(child, depth - 1, names, out);
      if (!walked && walked.error().code == ConnectCode::kResourceExhausted) return walked;
    }
  }
  return {};
}

json::object EntryAnswer(const Entry& entry) {
  json::object answer;
  answer["entry"] = EntryJson(entry, NameTable());
  return answer;
}

}  // namespace

base::Result<> MakeOwnedDirs(const std::string& path, const User& user) {
  for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (::mkdir(part.c_str(), 0755) == 0) {
      if (::lchown(part.c_str(), user.uid, user.gid) != 0) {
        return base::FailErrno(errno, fmt::format("set owner of '{}'", part));
      }
    } else if (errno != EEXIST) {
      return base::FailErrno(errno, fmt::format("make directory '{}'", part));
    } else if (struct stat found{}; ::stat(part.c_str(), &found) != 0 || !S_ISDIR(found.st_mode)) {
      return base::Fail(base::Code::kInvalidArgument,
                        fmt::format("make directory '{}': path is a file", part));
    }
    if (slash == path.npos) return {};
  }
}

net::Task<> FilesystemService::Serve(net::Exchange& exchange, std::string_view method) {
  if (WatchService::Has(method)) co_return co_await watches_.Serve(exchange, method);
  const std::string name(method);
  const std::string authorization(exchange.head().headers.Get("Authorization"));
  co_await ServeUnary(exchange, [&](Message request) -> AsyncRpcResult<json::object> {
    if (name != "Stat" && name != "ListDir") co_await state_.freeze->AwaitThaw();
    co_return Call(name, request, authorization);
  });
}

FilesystemService::Answer FilesystemService::Call(std::string_view method, const Message& request,
                                                  std::string_view authorization) {
  const auto name = BasicAuthUser(authorization);
  if (!name) return RpcFail(ConnectCode::kUnauthenticated, name.error().message());
  const base::Result<User> user = RequestUser(state_, *name);
  if (!user) return RpcFail(ConnectCode::kUnauthenticated, user.error().message());
  RPC_TRY(const auto given, request.String(method == "Move" ? "source" : "path"));
  const base::Result<std::string> path =
      ResolvePath(given.value_or(""), *user, state_.default_workdir);
  if (!path) return RpcFail(ConnectCode::kInvalidArgument, path.error().message());
  if (method == "Stat") return Stat(*path);
  if (method == "ListDir") return ListDir(*path, request);
  if (method == "MakeDir") return MakeDir(*path, *user);
  if (method == "Remove") return Remove(*path);
  if (method == "Move") {
    RPC_TRY(const auto wanted, request.String("destination"));
    const base::Result<std::string> destination =
        ResolvePath(wanted.value_or(""), *user, state_.default_workdir);
    if (!destination) return RpcFail(ConnectCode::kInvalidArgument, destination.error().message());
    return Move(*path, *destination, *user);
  }
  return RpcFail(ConnectCode::kUnimplemented, fmt::format("no method '{}'", method));
}

FilesystemService::Answer FilesystemService::Stat(const std::string& path) {
  const base::Result<Entry> entry = ReadEntry(path);
  if (!entry) return FromBase(entry.error());
  return EntryAnswer(*entry);
}

FilesystemService::Answer FilesystemService::ListDir(const std::string& path,
                                                     const Message& request) {
  RPC_TRY(const auto depth, request.Uint32("depth"));
  struct stat found{};
  if (::stat(path.c_str(), &found) != 0) {
    return RpcFail(ConnectCode::kNotFound, fmt::format("directory not found: '{}'", path));
  }
  if (!S_ISDIR(found.st_mode)) {
    return RpcFail(ConnectCode::kInvalidArgument,
                   fmt::format("path is not a directory: '{}'", path));
  }
  json::array entries;
  const RpcResult<> walked = Walk(path, std::max(depth.value_or(1), 1U), NameTable(), entries);
  if (!walked) return std::unexpected(walked.error());
  json::object answer;
  if (!entries.empty()) answer["entries"] = std::move(entries);
  return answer;
}

FilesystemService::Answer FilesystemService::MakeDir(const std::string& path, const User& user) {
  struct stat found{};
  if (::stat(path.c_str(), &found) == 0) {
    if (S_ISDIR(found.st_mode)) {
      return RpcFail(ConnectCode::kAlreadyExists,
                     fmt::format("directory already exists: '{}'", path));
    }
    return RpcFail(ConnectCode::kInvalidArgument,
                   fmt::format("path already exists but it is not a directory: '{}'", path));
  }
  if (const auto made = MakeOwnedDirs(path, user); !made) return FromBase(made.error());
  return Stat(path);
}

FilesystemService::Answer FilesystemService::Move(const std::string& source,
                                                  const std::string& destination,
                                                  const User& user) {
  struct stat found{};
  if (::lstat(source.c_str(), &found) != 0) {
    return RpcFail(ConnectCode::kNotFound, fmt::format("source file not found: '{}'", source));
  }
  if (const auto made = MakeOwnedDirs(ParentOf(destination), user); !made) {
    return FromBase(made.error());
  }
  if (::rename(source.c_str(), destination.c_str()) != 0) {
    return FromBase(
        base::Error::FromErrno(errno, fmt::format("move '{}' to '{}'", source, destination)));
  }
  return Stat(destination);
}

FilesystemService::Answer FilesystemService::Remove(const std::string& path) {
  if (const auto removed = sys::RemoveTree(path); !removed) return FromBase(removed.error());
  return json::object();
}

}  // namespace tinderbox::agent
