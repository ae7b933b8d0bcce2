// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/file_service.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <ctime>

#include "agent/filesystem_service.h"
#include "agent/freeze.h"
#include "agent/paths.h"
#include "agent/rpc.h"
#include "agent/signature.h"
#include "sys/file.h"

namespace tinderbox::agent {
namespace {

constexpr std::size_t kMaxComposeBody = 1 << 20;
constexpr std::size_t kCopyChunk = 1 << 20;

std::string Value(const std::vector<net::HeaderList::Field>& query, std::string_view name) {
  for (const auto& [key, value] : query) {
    if (key == name) return value;
  }
  return "";
}

// Appends the file `source` to `out`.
base::Result<> AppendFile(const std::string& source, sys::FdRef out) {
  const sys::UniqueFd in = TRY(sys::Open(source, O_RDONLY | O_NONBLOCK));
  struct stat found{};
  if (::fstat(in.get(), &found) != 0 || !S_ISREG(found.st_mode)) {
    return base::Fail(base::Code::kInvalidArgument,
                      fmt::format("path '{}' is not a regular file", source));
  }
  while (true) {
    const ssize_t n = ::copy_file_range(in.get(), nullptr, out.get(), nullptr, kCopyChunk, 0);
    if (n == 0) return {};
    if (n < 0 && errno != EINTR) return base::FailErrno(errno, fmt::format("copy '{}'", source));
  }
}

// Joins the sources in a file beside the destination, puts it there, then removes the sources.
base::Result<> Compose(const std::vector<std::string>& sources, const std::string& destination,
                       const User& user) {
  TRY(MakeOwnedDirs(ParentOf(destination), user));
  const std::string unfinished = destination + ".composing";
  const sys::UniqueFd out = TRY(sys::Open(unfinished, O_WRONLY | O_CREAT | O_TRUNC, 0644));
  const auto fill = [&]() -> base::Result<> {
    for (const std::string& source : sources) TRY(AppendFile(source, out));
    if (::fchown(out.get(), user.uid, user.gid) != 0) {
      return base::FailErrno(errno, fmt::format("set owner of '{}'", destination));
    }
    if (::rename(unfinished.c_str(), destination.c_str()) != 0) {
      return base::FailErrno(errno, fmt::format("write '{}'", destination));
    }
    return {};
  };
  if (base::Result<> filled = fill(); !filled) {
    ::unlink(unfinished.c_str());
    return filled;
  }
  for (const std::string& source : sources) {
    if (source != destination) TRY(sys::RemoveFile(source));
  }
  return {};
}

struct ComposeRequest {
  std::vector<std::string> sources;
  std::string destination;
  User user;
};

base::Result<ComposeRequest> ParseCompose(std::string_view body, const AgentState& state) {
  const RpcResult<Message> message = Message::Parse(body);
  if (!message) return base::Fail(base::Code::kInvalidArgument, message.error().message);
  const auto sources = message->Strings("source_paths");
  const auto destination = message->String("destination");
  const auto username = message->String("username");
  if (!sources || !destination || !username || sources->empty() || !*destination) {
    return base::Fail(base::Code::kInvalidArgument,
                      "source_paths and destination are needed, as strings");
  }
  ComposeRequest request;
  request.user = TRY(RequestUser(state, username->value_or("")));
  for (const std::string& source : *sources) {
    request.sources.push_back(TRY(ResolvePath(source, request.user, state.default_workdir)));
  }
  request.destination = TRY(ResolvePath(**destination, request.user, state.default_workdir));
  return request;
}

}  // namespace

HttpError FileError(const base::Error& error) {
  switch (error.errno_value()) {
    case ENOSPC:
    case EDQUOT: return {507, "not enough disk space available"};
    case ENOENT: return {404, error.ToString()};
    case ENOTDIR:
    case EISDIR:
    case ENAMETOOLONG:
    case ELOOP:
    case ENXIO: return {400, error.ToString()};
    default: break;
  }
  switch (error.code()) {
    case base::Code::kInvalidArgument: return {400, error.ToString()};
    case base::Code::kUnauthenticated: return {401, error.ToString()};
    case base::Code::kNotFound: return {404, error.ToString()};
    default: return {500, error.ToString()};
  }
}

net::Task<> FileService::Serve(net::Exchange& exchange) {
  const net::RequestHead& head = exchange.head();
  const bool read = head.method == "GET" || head.method == "HEAD";
  if (!read && head.method != "POST") {
    co_return co_await RespondError(exchange, 405, "method not allowed");
  }
  std::expected<FileQuery, HttpError> query = ParseQuery(head);
  if (!query) {
    co_return co_await RespondError(exchange, query.error().status, query.error().message);
  }
  if (read) {
    co_await Read(exchange, *std::move(query));
  } else {
    co_await Write(exchange, *std::move(query));
  }
}

std::expected<FileQuery, HttpError> FileService::ParseQuery(const net::RequestHead& head) {
  const auto query = net::ParseQuery(head.query);
  const std::string path = Value(query, "path");
  const std::string username = Value(query, "username");
  if (state_.access_token) {
    const std::string signature = Value(query, "signature");
    const std::string expiration = Value(query, "signature_expiration");
    FileAccess access;
    access.token = *state_.access_token;
    access.header = head.headers.Get("X-Access-Token");
    access.operation = head.method == "POST" ? "write" : "read";
    access.path = path;
    access.username = username;
    access.signature = signature;
    access.expiration = expiration;
    if (const auto allowed = CheckFileAccess(access, std::time(nullptr)); !allowed) {
      return std::unexpected(HttpError{401, allowed.error().message()});
    }
  }
  FileQuery result;
  base::Result<User> user = RequestUser(state_, username);
  if (!user) return std::unexpected(HttpError{401, user.error().message()});
  result.user = *std::move(user);
  result.has_path = !path.empty();
  base::Result<std::string> resolved = ResolvePath(path, result.user, state_.default_workdir);
  if (!resolved) return std::unexpected(HttpError{400, resolved.error().message()});
  result.path = *std::move(resolved);
  return result;
}

net::Task<> FileService::ServeCompose(net::Exchange& exchange) {
  const base::Result<std::string> body = co_await exchange.ReadBody(kMaxComposeBody);
  if (!body) co_return co_await RespondError(exchange, 400, body.error().message());
  co_await state_.freeze->AwaitThaw();
  const base::Result<ComposeRequest> request = ParseCompose(*body, state_);
  base::Result<> done;
  if (!request) {
    done = std::unexpected(request.error());
  } else {
    done = Compose(request->sources, request->destination, request->user);
  }
  if (!done) {
    const HttpError error = FileError(done.error());
    co_return co_await RespondError(exchange, error.status, error.message);
  }
  boost::json::object entry;
  entry["name"] = BaseName(request->destination);
  entry["path"] = request->destination;
  entry["type"] = "file";
  (void)co_await exchange.Respond(200, AnswerHeaders("application/json"),
                                  boost::json::serialize(entry));
}

}  // namespace tinderbox::agent
