// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/volume_content.h"

#include <fmt/format.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <charconv>
#include <limits>
#include <utility>
#include <vector>

#include "api/error_map.h"
#include "api/request_fields.h"
#include "api/text.h"
#include "api/volume_json.h"
#include "base/log.h"

namespace tinderbox::api {

using base::Code;
using base::Error;
using base::Fail;
using base::Result;
using volume::Attributes;
using volume::Path;

namespace {

constexpr std::string_view kPrefix = "/volumecontent/";
constexpr std::size_t kPiece = 256 << 10;
constexpr std::size_t kPatchBody = 64 << 10;
constexpr std::uint64_t kRoomStep = 16 << 20;
constexpr std::int64_t kMaxDepth = 100;
constexpr std::int64_t kMaxId = std::numeric_limits<std::uint32_t>::max() - 1;

// {id, "dir" | "path" | "file"} of the request's path; empty where it is none of these.
std::pair<std::string, std::string> Split(std::string_view path) {
  path.remove_prefix(kPrefix.size());
  const auto slash = path.find('/');
  if (slash == path.npos) return {};
  return {net::PercentDecode(path.substr(0, slash)).value_or(""),
          std::string(path.substr(slash + 1))};
}

std::optional<std::string> QueryOf(const net::RequestHead& head, std::string_view name) {
  for (auto& [key, value] : net::ParseQuery(head.query)) {
    if (key == name) return std::move(value);
  }
  return std::nullopt;
}

Result<std::optional<std::int64_t>> NumberOf(const net::RequestHead& head, std::string_view name,
                                             std::int64_t min, std::int64_t max) {
  const auto text = QueryOf(head, name);
  if (!text) return std::optional<std::int64_t>();
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  if (error != std::errc() || end != text->data() + text->size() || value < min || value > max) {
    return Fail(Code::kInvalidArgument,
                fmt::format("query parameter '{}' is a number from {} to {}", name, min, max));
  }
  return std::optional(value);
}

Result<bool> ForceOf(const net::RequestHead& head) {
  const std::string text = QueryOf(head, "force").value_or("false");
  if (text == "true" || text == "false") return text == "true";
  return Fail(Code::kInvalidArgument, "query parameter 'force' is 'true' or 'false'");
}

Result<Path> PathOf(const net::RequestHead& head) {
  const auto text = QueryOf(head, "path");
  if (!text) return Fail(Code::kInvalidArgument, "query parameter 'path' is missing");
  return Path::Parse(*text);
}

std::optional<std::uint32_t> Narrow(std::optional<std::int64_t> value) {
  if (!value) return std::nullopt;
  return static_cast<std::uint32_t>(*value);
}

Result<Attributes> AttributesOf(const net::RequestHead& head) {
  return Attributes{.uid = Narrow(TRY(NumberOf(head, "uid", 0, kMaxId))),
                    .gid = Narrow(TRY(NumberOf(head, "gid", 0, kMaxId))),
                    .mode = Narrow(TRY(NumberOf(head, "mode", 0, 07777)))};
}

Result<Attributes> AttributesOf(std::string_view body) {
  const boost::json::object object = TRY(ParseObject(body, false));
  FieldReader fields(object);
  const Attributes attributes{.uid = Narrow(fields.Integer("uid", 0, kMaxId)),
                              .gid = Narrow(fields.Integer("gid", 0, kMaxId)),
                              .mode = Narrow(fields.Integer("mode", 0, 07777))};
  TRY(fields.Finish());
  return attributes;
}

// No room is not this client's doing, and asking again does not help.
Answer ErrorOf(const Error& error) {
  return error.code() == Code::kResourceExhausted ? Refusal(507, error, "") : ErrorAnswer(error);
}

// In time that does not depend on where the two differ.
bool SameToken(std::string_view a, std::string_view b) {
  unsigned char difference = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  }
  return difference == 0 && !a.empty();
}

std::string BearerOf(const net::HeaderList& headers) {
  constexpr std::string_view kBearer = "Bearer ";
  const std::string_view value = headers.Get("Authorization");
  if (!net::EqualsIgnoreCase(value.substr(0, kBearer.size()), kBearer)) return {};
  return std::string(value.substr(kBearer.size()));
}

Answer NoSuchRoute(const net::RequestHead& head) {
  return ErrorAnswer(Code::kInvalidArgument, fmt::format("no such call on a volume: {} {}",
                                                         head.method, head.path.substr(0, 200)));
}

// Whoever does not bear the token is not told whether there is such a volume.
Result<std::shared_ptr<const volume::Tree>> Admit(volume::Volumes& volumes, const std::string& id,
                                                  const std::string& token) {
  const auto found = volumes.Get(id);
  if (!found && found.error().code() != Code::kNotFound) return std::unexpected(found.error());
  if (!found || !SameToken(token, found->token)) {
    return std::unexpected(
        Error(Code::kUnauthenticated, "the volume's token is missing or wrong")
            .WithRemedy("Set 'Authorization: Bearer TOKEN' to the token of GET /volumes/{id}."));
  }
  return std::make_shared<const volume::Tree>(TRY(volumes.OpenTree(id)));
}

Result<std::string> ReadPiece(const volume::Tree::File& file, std::uint64_t offset,
                              std::uint64_t most) {
  std::string piece(std::min<std::uint64_t>(kPiece, most), '\0');
  for (;;) {
    const ssize_t n =
        ::pread(file.fd.get(), piece.data(), piece.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::FailErrno(errno, "read");
    piece.resize(static_cast<std::size_t>(n));
    return piece;
  }
}

net::HeaderList DownloadHeaders() {
  net::HeaderList headers;
  headers.Add("Content-Type", "application/octet-stream");
  headers.Add("X-Content-Type-Options", "nosniff");
  return headers;
}

}  // namespace

bool VolumeContent::IsRequest(const net::RequestHead& head) {
  return head.path.starts_with(kPrefix);
}

net::Task<> VolumeContent::Serve(net::Exchange& exchange) {
  const net::RequestHead& head = exchange.head();
  const auto [id, kind] = Split(head.path);
  auto tree = co_await pool_.Run([this, volume = id, token = BearerOf(head.headers)] {
    return Admit(volumes_, volume, token);
  });
  Result<Answer> answer = Answer();
  if (!tree) {
    answer = ErrorOf(tree.error());
  } else if (kind == "file" && (head.method == "GET" || head.method == "HEAD")) {
    const Result<> sent = co_await Download(exchange, *tree);
    if (sent || exchange.response_begun()) co_return;
    answer = ErrorOf(sent.error());
  } else if (kind == "file" && head.method == "PUT") {
    answer = co_await Upload(exchange, *tree);
  } else {
    answer = co_await ServeEntry(exchange, *tree, kind);
  }
  if (!answer && exchange.disconnected()) co_return;
  Answer told = answer ? std::move(*answer) : ErrorOf(answer.error());
  if (told.status >= 500) {
    base::LogWarning("a call on a volume failed",
                     {{"volume", id}, {"answer", told.body.substr(0, 1000)}});
  }
  (void)co_await exchange.Respond(told.status, std::move(told.headers), std::move(told.body));
}

net::AsyncResult<> VolumeContent::Download(net::Exchange& exchange, TreePtr tree) {
  CO_TRY(const Path path, PathOf(exchange.head()));
  CO_TRY(auto opened, co_await pool_.Run([tree, path] { return tree->OpenFile(path); }));
  const auto file = std::make_shared<volume::Tree::File>(std::move(opened));
  CO_TRY_VOID(co_await exchange.BeginStream(200, DownloadHeaders(), file->size));
  if (exchange.head().method == "HEAD") co_return co_await exchange.Finish();
  // What is appended meanwhile is not sent; what is cut off meanwhile breaks the stream.
  for (std::uint64_t sent = 0; sent < file->size;) {
    CO_TRY(const std::string piece,
           co_await pool_.Run([file, sent] { return ReadPiece(*file, sent, file->size - sent); }));
    if (piece.empty()) co_return Fail(Code::kAborted, "the file became shorter");
    CO_TRY_VOID(co_await exchange.Write(piece));
    sent += piece.size();
  }
  co_return co_await exchange.Finish();
}

net::AsyncResult<Answer> VolumeContent::Upload(net::Exchange& exchange, TreePtr tree) {
  const net::RequestHead& head = exchange.head();
  CO_TRY(const Path path, PathOf(head));
  CO_TRY(const Attributes attributes, AttributesOf(head));
  CO_TRY(const bool force, ForceOf(head));
  CO_TRY_VOID(co_await pool_.Run([this, bytes = exchange.content_length().value_or(0)] {
    return volumes_.EnsureRoom(bytes);
  }));
  CO_TRY(auto begun, co_await pool_.Run([tree, path, attributes, force] {
    return tree->BeginUpload(path, attributes, force);
  }));
  const std::shared_ptr<volume::Upload> upload = std::move(begun);
  exchange.SetBodyLimit(std::numeric_limits<std::uint64_t>::max());
  const auto buffer = std::make_shared<std::vector<char>>(kPiece);
  for (std::uint64_t checked = 0, got = 0;;) {
    // As much as fits, so that a body of small pieces costs no thread's turn for each.
    std::size_t filled = 0;
    while (filled < buffer->size()) {
      CO_TRY(const std::size_t n, co_await exchange.ReadSome(std::span(*buffer).subspan(filled)));
      if (n == 0) break;
      filled += n;
    }
    if (filled == 0) break;
    const bool check = got >= checked;
    if (check) checked = got + kRoomStep;
    got += filled;
    CO_TRY_VOID(co_await pool_.Run([this, upload, buffer, filled, check]() -> Result<> {
      if (check) TRY(volumes_.EnsureRoom(kRoomStep));
      return upload->Write(std::string_view(buffer->data(), filled));
    }));
  }
  CO_TRY(const volume::Entry entry,
         co_await pool_.Run([tree, upload, path]() -> Result<volume::Entry> {
           TRY(upload->Commit());
           return tree->Stat(path);
         }));
  co_return JsonAnswer(201, EntryJson(entry));
}

net::AsyncResult<Answer> VolumeContent::ServeEntry(net::Exchange& exchange, TreePtr tree,
                                                   const std::string& kind) {
  const net::RequestHead& head = exchange.head();
  CO_TRY(const std::string body, co_await exchange.ReadBody(kPatchBody));
  CO_TRY(const Path path, PathOf(head));
  if (kind == "dir" && head.method == "GET") {
    CO_TRY(const auto depth, NumberOf(head, "depth", 1, kMaxDepth));
    CO_TRY(const auto entries, co_await pool_.Run([tree, path, deep = depth.value_or(1)] {
      return tree->List(path, static_cast<std::uint32_t>(deep));
    }));
    co_return JsonAnswer(200, EntriesJson(entries));
  }
  if (kind == "dir" && head.method == "POST") {
    CO_TRY(const Attributes attributes, AttributesOf(head));
    CO_TRY(const bool force, ForceOf(head));
    CO_TRY(const volume::Entry entry,
           co_await pool_.Run([this, tree, path, attributes, force]() -> Result<volume::Entry> {
             TRY(volumes_.EnsureRoom(0));
             return tree->MakeDirectory(path, attributes, force);
           }));
    co_return JsonAnswer(201, EntryJson(entry));
  }
  if (kind == "path" && (head.method == "GET" || head.method == "HEAD")) {
    CO_TRY(const volume::Entry entry,
           co_await pool_.Run([tree, path] { return tree->Stat(path); }));
    co_return JsonAnswer(200, EntryJson(entry));
  }
  if (kind == "path" && head.method == "PATCH") {
    CO_TRY(const Attributes attributes, AttributesOf(body));
    CO_TRY(const volume::Entry entry, co_await pool_.Run([tree, path, attributes] {
      return tree->SetAttributes(path, attributes);
    }));
    co_return JsonAnswer(200, EntryJson(entry));
  }
  if (kind == "path" && head.method == "DELETE") {
    CO_TRY_VOID(co_await pool_.Run([tree, path] { return tree->Remove(path); }));
    co_return EmptyAnswer(204);
  }
  co_return NoSuchRoute(head);
}

}  // namespace tinderbox::api
