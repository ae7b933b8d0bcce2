// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// POST /files.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>

#include "agent/entry_info.h"
#include "agent/file_service.h"
#include "agent/filesystem_service.h"
#include "agent/freeze.h"
#include "agent/gzip.h"
#include "agent/multipart.h"
#include "agent/paths.h"
#include "agent/rpc.h"
#include "sys/file.h"

namespace tinderbox::agent {
namespace {

constexpr std::size_t kChunk = 128 << 10;
constexpr std::size_t kMaxFiles = 10'000;  // in one request
constexpr std::size_t kMaxMetadataKey = 246;
constexpr std::size_t kMaxMetadata = 4096;

// Writes the files of one request, one after the other.
class Upload {
 public:
  Upload(User user, std::string workdir, std::map<std::string, std::string> metadata)
      : user_(std::move(user)), workdir_(std::move(workdir)), metadata_(std::move(metadata)) {}

  // Begins a file at `path`, resolved already.
  base::Result<> Begin(const std::string& path) {
    if (std::ranges::find(written_, path) != written_.end()) {
      return base::Fail(
          base::Code::kInvalidArgument,
          fmt::format("you cannot upload multiple files to the same path '{}'", path));
    }
    if (written_.size() >= kMaxFiles) {
      return base::Fail(base::Code::kInvalidArgument, "too many files in one request");
    }
    struct stat found{};
    if (::stat(path.c_str(), &found) == 0 && !S_ISREG(found.st_mode)) {
      return base::Fail(base::Code::kInvalidArgument,
                        fmt::format("path '{}' is {}", path,
                                    S_ISDIR(found.st_mode) ? "a directory" : "not a regular file"));
    }
    TRY(MakeOwnedDirs(ParentOf(path), user_));
    // Non-blocking for the case that a FIFO takes the place of what was looked at above.
    out_ = TRY(sys::Open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_NOCTTY, 0644));
    if (::fchown(out_.get(), user_.uid, user_.gid) != 0) {
      return base::FailErrno(errno, fmt::format("set owner of '{}'", path));
    }
    written_.push_back(path);
    return {};
  }
  base::Result<> Write(std::string_view data) {
    return out_ ? sys::WriteAll(out_, data) : base::Result<>{};
  }
  base::Result<> End() {
    if (out_) TRY(WriteMetadata(out_.get(), metadata_));
    out_.Reset();
    return {};
  }

  // A multipart part: `target` where the query named one, else the part's own file name.
  base::Result<> BeginPart(std::string_view name, std::string_view filename,
                           const std::optional<std::string>& target) {
    if (name != "file") return {};
    if (target) return Begin(*target);
    if (filename.empty()) {
      return base::Fail(base::Code::kInvalidArgument,
                        "a part has no filename and no path was given");
    }
    return Begin(TRY(ResolvePath(filename, user_, workdir_)));
  }

  std::string AnswerJson() const {
    boost::json::array entries;
    for (const std::string& path : written_) {
      boost::json::object entry;
      entry["name"] = BaseName(path);
      entry["path"] = path;
      entry["type"] = "file";
      if (!metadata_.empty()) {
        boost::json::object metadata;
        for (const auto& [key, value] : metadata_) metadata[key] = value;
        entry["metadata"] = std::move(metadata);
      }
      entries.push_back(std::move(entry));
    }
    return boost::json::serialize(entries);
  }

 private:
  const User user_;
  const std::string workdir_;
  const std::map<std::string, std::string> metadata_;
  sys::UniqueFd out_;
  std::vector<std::string> written_;
};

using Consumer = std::function<base::Result<>(std::string_view)>;

// Why an upload ended early: the client's or the disk's fault, or the connection's.
HttpError UploadError(const base::Error& error) {
  if (error.code() == base::Code::kDeadlineExceeded) return {408, error.message()};
  return FileError(error);
}

// The whole body into `consume`, with its gzip coding undone where it has one.
net::AsyncResult<> ReceiveBody(net::Exchange& exchange, Freeze& freeze, bool gzipped,
                               const Consumer& consume) {
  GzipReader gzip;
  std::string chunk(kChunk, '\0');
  while (true) {
    CO_TRY(const std::size_t n, co_await exchange.ReadSome(chunk));
    co_await freeze.AwaitThaw();
    if (n == 0) break;
    const std::string_view data = std::string_view(chunk).substr(0, n);
    base::Result<> consumed = gzipped ? gzip.Feed(data, consume) : consume(data);
    if (!consumed) co_return consumed;
  }
  if (gzipped && !gzip.finished()) {
    co_return base::Fail(base::Code::kInvalidArgument, "decode body: it ends early");
  }
  co_return base::Result<>{};
}

net::AsyncResult<> ReceiveMultipart(net::Exchange& exchange, Freeze& freeze, bool gzipped,
                                    const std::string& boundary,
                                    const std::optional<std::string>& target, Upload& upload) {
  MultipartReader reader(
      boundary,
      {.begin = [&](std::string_view name,
                    std::string_view file) { return upload.BeginPart(name, file, target); },
       .data = [&](std::string_view data) { return upload.Write(data); },
       .end = [&] { return upload.End(); }});
  const Consumer consume = [&](std::string_view data) { return reader.Feed(data); };
  CO_TRY_VOID(co_await ReceiveBody(exchange, freeze, gzipped, consume));
  if (!reader.finished()) {
    co_return base::Fail(base::Code::kInvalidArgument, "read multipart body: it ends early");
  }
  co_return base::Result<>{};
}

net::AsyncResult<> ReceiveRaw(net::Exchange& exchange, Freeze& freeze, bool gzipped,
                              const std::string& target, Upload& upload) {
  CO_TRY_VOID(upload.Begin(target));
  const Consumer consume = [&](std::string_view data) { return upload.Write(data); };
  CO_TRY_VOID(co_await ReceiveBody(exchange, freeze, gzipped, consume));
  co_return upload.End();
}

bool IsOctetStream(std::string_view content_type) {
  const std::string_view type = content_type.substr(0, content_type.find(';'));
  return net::EqualsIgnoreCase(type, "application/octet-stream");
}

}  // namespace

std::expected<std::map<std::string, std::string>, HttpError> ParseMetadata(
    const net::HeaderList& headers) {
  constexpr std::string_view kPrefix = "X-Metadata-";
  std::map<std::string, std::string> metadata;
  std::size_t total = 0;
  for (const auto& [name, value] : headers) {
    if (name.size() <= kPrefix.size() ||
        !net::EqualsIgnoreCase(std::string_view(name).substr(0, kPrefix.size()), kPrefix)) {
      continue;
    }
    std::string key = name.substr(kPrefix.size());
    std::ranges::transform(key, key.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    });
    const auto printable = [](char c) { return c >= ' ' && c < 0x7f; };
    if (!std::ranges::all_of(key, printable) || !std::ranges::all_of(value, printable)) {
      return std::unexpected(
          HttpError{400, fmt::format("metadata '{}' is not printable ASCII", key)});
    }
    total += key.size() + value.size();
    if (key.size() > kMaxMetadataKey || total > kMaxMetadata) {
      return std::unexpected(HttpError{400, "metadata is too long"});
    }
    metadata[key] = value;
  }
  return metadata;
}

net::Task<> FileService::Write(net::Exchange& exchange, FileQuery query) {
  const net::HeaderList& asked = exchange.head().headers;
  auto metadata = ParseMetadata(asked);
  if (!metadata) {
    co_return co_await RespondError(exchange, metadata.error().status, metadata.error().message);
  }
  const std::string_view coding = asked.Get("Content-Encoding");
  const bool gzipped = net::EqualsIgnoreCase(coding, "gzip");
  if (!gzipped && !coding.empty() && !net::EqualsIgnoreCase(coding, "identity")) {
    co_return co_await RespondError(exchange, 400,
                                    fmt::format("unsupported encoding '{}'", coding));
  }
  const std::string content_type(asked.Get("Content-Type"));
  const std::optional<std::string> boundary = MultipartBoundary(content_type);
  if (!boundary && !IsOctetStream(content_type)) {
    co_return co_await RespondError(
        exchange, 400, "Content-Type must be multipart/form-data or application/octet-stream");
  }
  if (!boundary && !query.has_path) {
    co_return co_await RespondError(exchange, 400, "the query parameter path is missing");
  }
  exchange.SetBodyLimit(UINT64_MAX);
  Upload upload(std::move(query.user), state_.default_workdir, *std::move(metadata));
  std::optional<std::string> target;
  if (query.has_path) target = query.path;
  base::Result<> done;
  co_await state_.freeze->AwaitThaw();
  if (boundary) {
    done = co_await ReceiveMultipart(exchange, *state_.freeze, gzipped, *boundary, target, upload);
  } else {
    done = co_await ReceiveRaw(exchange, *state_.freeze, gzipped, *target, upload);
  }
  if (!done) {
    const HttpError error = UploadError(done.error());
    co_return co_await RespondError(exchange, error.status, error.message);
  }
  (void)co_await exchange.Respond(200, AnswerHeaders("application/json"), upload.AnswerJson());
}

}  // namespace tinderbox::agent
