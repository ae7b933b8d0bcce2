// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// GET /files.
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <ctime>

#include "agent/file_service.h"
#include "agent/gzip.h"
#include "agent/paths.h"
#include "agent/rpc.h"
#include "sys/file.h"

namespace tinderbox::agent {
namespace {

constexpr std::size_t kChunk = 128 << 10;
// Files of the kernel's own file systems say nothing true of their size; they are read whole.
constexpr std::size_t kMaxKernelFile = 16 << 20;
// A smaller answer fits in one packet as it is.
constexpr std::uint64_t kMinGzip = 1024;
// Two samples of this size decide about compression: compressing data that does not get smaller
// would take far longer than sending it.
constexpr std::size_t kSample = 16 << 10;

struct OpenFile {
  sys::UniqueFd fd;
  std::uint64_t size = 0;
  std::time_t modified = 0;
  std::optional<std::string> content;  // of a file whose size is not known before
};

bool SizeIsTrue(sys::FdRef fd) {
  struct statfs fs{};
  if (::fstatfs(fd.get(), &fs) != 0) return true;
  for (const long magic : {PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP2_SUPER_MAGIC, CGROUP_SUPER_MAGIC,
                           DEBUGFS_MAGIC, TRACEFS_MAGIC, SECURITYFS_MAGIC}) {
    if (static_cast<long>(fs.f_type) == magic) return false;
  }
  return true;
}

std::expected<OpenFile, HttpError> OpenForReading(const std::string& path) {
  OpenFile file;
  // Non-blocking: opening a FIFO that nobody writes would stop the whole agent.
  file.fd.Reset(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file.fd) {
    if (errno == ENOENT || errno == ENOTDIR) {
      return std::unexpected(HttpError{404, fmt::format("path '{}' does not exist", path)});
    }
    return std::unexpected(
        FileError(base::Error::FromErrno(errno, fmt::format("open '{}'", path))));
  }
  struct stat found{};
  if (::fstat(file.fd.get(), &found) != 0) {
    return std::unexpected(
        FileError(base::Error::FromErrno(errno, fmt::format("stat '{}'", path))));
  }
  if (S_ISDIR(found.st_mode)) {
    return std::unexpected(HttpError{400, fmt::format("path '{}' is a directory", path)});
  }
  if (!S_ISREG(found.st_mode)) {
    return std::unexpected(HttpError{400, fmt::format("path '{}' is not a regular file", path)});
  }
  file.size = static_cast<std::uint64_t>(found.st_size);
  file.modified = found.st_mtim.tv_sec;
  if (!SizeIsTrue(file.fd)) {
    base::Result<std::string> content = sys::ReadAll(file.fd, kMaxKernelFile);
    if (!content) return std::unexpected(FileError(content.error()));
    file.size = content->size();
    file.content = *std::move(content);
  }
  return file;
}

std::string HttpDate(std::time_t time) {
  std::tm utc{};
  ::gmtime_r(&time, &utc);
  std::array<char, 64> text;
  const std::size_t n = std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &utc);
  return {text.data(), n};
}

std::optional<std::time_t> ParseHttpDate(std::string_view text) {
  std::tm utc{};
  const std::string copy(text);
  const char* end = ::strptime(copy.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &utc);
  if (end == nullptr || *end != '\0') return std::nullopt;
  return ::timegm(&utc);
}

// The piece at `offset`; empty at the end of the file, however long it was when the answer began.
base::Result<std::string_view> ReadPiece(const OpenFile& file, std::uint64_t offset,
                                         std::size_t want, std::string& buffer) {
  if (file.content) {
    const std::string_view all = *file.content;
    return all.substr(std::min<std::uint64_t>(offset, all.size()), want);
  }
  buffer.resize(want);
  while (true) {
    const ssize_t n = ::pread(file.fd.get(), buffer.data(), want, static_cast<off_t>(offset));
    if (n >= 0) return std::string_view(buffer).substr(0, static_cast<std::size_t>(n));
    if (errno != EINTR) return base::FailErrno(errno, "read file");
  }
}

// [first, last] as it is. A file that became shorter meanwhile ends in a reset: half a file must
// not look like a whole one.
net::Task<> SendPlain(net::Exchange& exchange, const OpenFile& file, std::uint64_t offset,
                      std::uint64_t length) {
  std::string buffer;
  while (length > 0) {
    if (!file.content) {
      const auto sent = co_await exchange.WriteFile(file.fd, offset, length);
      if (!sent) co_return;
      offset += *sent;
      length -= *sent;
      if (*sent > 0) continue;
    }
    // The first piece, which takes the head along, or what only read can do.
    const auto piece = ReadPiece(
        file, offset, static_cast<std::size_t>(std::min<std::uint64_t>(length, kChunk)), buffer);
    if (!piece || piece->empty()) co_return;
    if (!co_await exchange.Write(*piece)) co_return;
    offset += piece->size();
    length -= piece->size();
  }
  (void)co_await exchange.Finish();
}

// Looks at the beginning and the middle.
bool PaysToCompress(const OpenFile& file) {
  if (file.size < kMinGzip) return false;
  std::string buffer;
  std::string sample;
  for (const std::uint64_t offset :
       {std::uint64_t{0}, std::max<std::uint64_t>(file.size / 2, kSample)}) {
    if (const auto piece = ReadPiece(file, offset, kSample, buffer)) sample += *piece;
  }
  return WorthCompressing(sample);
}

net::Task<> SendGzip(net::Exchange& exchange, const OpenFile& file) {
  GzipWriter gzip;
  std::string buffer;
  std::string out;
  std::uint64_t offset = 0;
  while (true) {
    const auto piece = ReadPiece(file, offset, kChunk, buffer);
    if (!piece) co_return;
    const bool last = piece->empty();
    gzip.Write(*piece, last, out);
    if (out.size() >= kChunk / 2 || last) {
      if (!co_await exchange.Write(out)) co_return;
      out.clear();
    }
    if (last) break;
    offset += piece->size();
  }
  (void)co_await exchange.Finish();
}

// 304 or 412 where a condition of the request says so, else 0.
unsigned Precondition(const net::HeaderList& headers, std::time_t modified) {
  if (const auto since = ParseHttpDate(headers.Get("If-Unmodified-Since"));
      since && modified > *since) {
    return 412;
  }
  if (const auto since = ParseHttpDate(headers.Get("If-Modified-Since"));
      since && modified <= *since) {
    return 304;
  }
  return 0;
}

bool IsConditional(const net::HeaderList& headers) {
  for (const std::string_view name : {"Range", "If-Modified-Since", "If-Unmodified-Since",
                                      "If-None-Match", "If-Match", "If-Range"}) {
    if (headers.Has(name)) return true;
  }
  return false;
}

}  // namespace

std::optional<ByteRange> ParseRange(std::string_view header, std::uint64_t size) {
  constexpr std::string_view kUnit = "bytes=";
  if (!header.starts_with(kUnit) || header.find(',') != header.npos) return std::nullopt;
  header.remove_prefix(kUnit.size());
  const auto dash = header.find('-');
  if (dash == header.npos) return std::nullopt;
  const auto number = [](std::string_view text) -> std::optional<std::uint64_t> {
    std::uint64_t value = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
  };
  const std::string_view from = header.substr(0, dash);
  const std::string_view to = header.substr(dash + 1);
  if (from.empty()) {
    const auto suffix = number(to);
    if (!suffix) return std::nullopt;
    if (*suffix == 0 || size == 0) return ByteRange{1, 0};
    return ByteRange{size - std::min(*suffix, size), size - 1};
  }
  const auto first = number(from);
  const auto last = to.empty() ? std::optional<std::uint64_t>(UINT64_MAX) : number(to);
  if (!first || !last || *last < *first) return std::nullopt;
  if (*first >= size) return ByteRange{1, 0};
  return ByteRange{*first, std::min(*last, size - 1)};
}

std::string ContentType(std::string_view name) {
  constexpr std::pair<std::string_view, std::string_view> kTypes[] = {
      {".txt", "text/plain; charset=utf-8"},
      {".md", "text/markdown; charset=utf-8"},
      {".html", "text/html; charset=utf-8"},
      {".htm", "text/html; charset=utf-8"},
      {".css", "text/css; charset=utf-8"},
      {".csv", "text/csv; charset=utf-8"},
      {".js", "text/javascript; charset=utf-8"},
      {".mjs", "text/javascript; charset=utf-8"},
      {".json", "application/json"},
      {".xml", "text/xml; charset=utf-8"},
      {".svg", "image/svg+xml"},
      {".png", "image/png"},
      {".jpg", "image/jpeg"},
      {".jpeg", "image/jpeg"},
      {".gif", "image/gif"},
      {".webp", "image/webp"},
      {".avif", "image/avif"},
      {".pdf", "application/pdf"},
      {".wasm", "application/wasm"},
      {".zip", "application/zip"},
      {".gz", "application/gzip"},
      {".tar", "application/x-tar"},
      {".mp3", "audio/mpeg"},
      {".mp4", "video/mp4"},
      {".wav", "audio/wav"},
      {".webm", "video/webm"},
  };
  const auto dot = name.rfind('.');
  if (dot != name.npos) {
    for (const auto& [extension, type] : kTypes) {
      if (net::EqualsIgnoreCase(name.substr(dot), extension)) return std::string(type);
    }
  }
  return "application/octet-stream";
}

std::string ContentDisposition(std::string_view name) {
  const auto is_token = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("!#$&+-.^_`|~").find(c) != std::string_view::npos;
  };
  if (std::ranges::all_of(name, is_token)) return fmt::format("inline; filename={}", name);
  if (std::ranges::all_of(name, [](char c) { return c >= ' ' && c < 0x7f; })) {
    std::string quoted;
    for (const char c : name) {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += c;
    }
    return fmt::format("inline; filename=\"{}\"", quoted);
  }
  std::string encoded;
  for (const char c : name) {
    if (is_token(c)) {
      encoded += c;
    } else {
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return "inline; filename*=utf-8''" + encoded;
}

net::Task<> FileService::Read(net::Exchange& exchange, FileQuery query) {
  const net::HeaderList& asked = exchange.head().headers;
  const std::expected<OpenFile, HttpError> file = OpenForReading(query.path);
  if (!file) co_return co_await RespondError(exchange, file.error().status, file.error().message);
  const auto accepted = asked.Find("Accept-Encoding");
  const std::optional<std::string_view> encoding = ChooseEncoding(accepted);
  if (!encoding) {
    co_return co_await RespondError(exchange, 406,
                                    "no acceptable encoding found: use identity or gzip");
  }
  const std::string name = BaseName(query.path);
  net::HeaderList headers = AnswerHeaders(ContentType(name));
  headers.Add("Content-Disposition", ContentDisposition(name));
  headers.Add("Vary", "Accept-Encoding");
  headers.Add("Last-Modified", HttpDate(file->modified));
  // Parts and conditions are about the file itself, so those answers are not compressed.
  if (*encoding == "gzip" && !IsConditional(asked) &&
      (!AcceptsIdentity(accepted) || PaysToCompress(*file))) {
    headers.Add("Content-Encoding", "gzip");
    if (!co_await exchange.BeginStream(200, std::move(headers), std::nullopt, false)) co_return;
    if (exchange.head().method == "HEAD") {
      (void)co_await exchange.Finish();
      co_return;
    }
    co_return co_await SendGzip(exchange, *file);
  }
  headers.Add("Accept-Ranges", "bytes");
  if (const unsigned status = Precondition(asked, file->modified); status != 0) {
    (void)co_await exchange.Respond(status, std::move(headers), "");
    co_return;
  }
  ByteRange range{0, file->size == 0 ? 0 : file->size - 1};
  std::uint64_t length = file->size;
  unsigned status = 200;
  const bool range_holds = !asked.Has("If-Range") ||
                           ParseHttpDate(asked.Get("If-Range")) == std::optional(file->modified);
  if (const auto part = ParseRange(asked.Get("Range"), file->size); part && range_holds) {
    if (part->first > part->last) {
      headers.Add("Content-Range", fmt::format("bytes */{}", file->size));
      (void)co_await exchange.Respond(416, std::move(headers), "");
      co_return;
    }
    range = *part;
    length = range.last - range.first + 1;
    status = 206;
    headers.Add("Content-Range",
                fmt::format("bytes {}-{}/{}", range.first, range.last, file->size));
  }
  if (!co_await exchange.BeginStream(status, std::move(headers), length, false)) co_return;
  if (exchange.head().method == "HEAD") {
    (void)co_await exchange.Finish();
    co_return;
  }
  co_await SendPlain(exchange, *file, range.first, length);
}

}  // namespace tinderbox::agent
