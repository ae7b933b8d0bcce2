// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/state.h"
#include "agent/users.h"
#include "net/http_server.h"

namespace tinderbox::agent {

// Why a request for /files is refused, as the client is told.
struct HttpError {
  unsigned status = 500;
  std::string message;
};

// The query of a request for /files, checked and resolved.
struct FileQuery {
  User user;
  std::string path;  // resolved; only where has_path
  bool has_path = false;
};

// GET and POST /files, POST /files/compose: whole files in and out, as root; what is made is owned
// by the user whom the request names. Reads and writes of the disk block the agent's one thread, a
// chunk at a time.
class FileService {
 public:
  explicit FileService(AgentState& state) : state_(state) {}

  net::Task<> Serve(net::Exchange& exchange);
  net::Task<> ServeCompose(net::Exchange& exchange);

 private:
  std::expected<FileQuery, HttpError> ParseQuery(const net::RequestHead& head);
  net::Task<> Read(net::Exchange& exchange, FileQuery query);
  net::Task<> Write(net::Exchange& exchange, FileQuery query);

  AgentState& state_;
};

// --- Parts, here for their tests.

// The status that a failed operation on the disk has.
HttpError FileError(const base::Error& error);

// "bytes=0-99", "bytes=5-", "bytes=-5" of a file of `size` bytes as [first, last]. No value where
// the header is to be ignored (several ranges, another unit, malformed); first > last where nothing
// of the range is in the file (416).
struct ByteRange {
  std::uint64_t first = 0;
  std::uint64_t last = 0;
};
std::optional<ByteRange> ParseRange(std::string_view header, std::uint64_t size);

std::string ContentType(std::string_view name);
// "inline; filename=a.txt", quoted or RFC 5987-encoded where the name needs it.
std::string ContentDisposition(std::string_view name);

// The X-Metadata-* headers, keys lower-cased; an error for what the contract forbids.
std::expected<std::map<std::string, std::string>, HttpError> ParseMetadata(
    const net::HeaderList& headers);

}  // namespace tinderbox::agent
