// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/guest_files.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>

#include "cli/process_event.h"
#include "cli/quote.h"
#include "net/connect_client.h"
#include "sys/file.h"

namespace tinderbox::cli {
namespace {

namespace json = boost::json;
using base::Code;
using base::Deadline;

// A transfer may take hours, but it must move.
constexpr std::chrono::minutes kStall{5};
constexpr std::size_t kChunk = std::size_t{256} << 10;

Deadline Stalled() { return Deadline::After(kStall); }

const json::value* Member(const json::value& value, std::string_view key) {
  const json::object* object = value.if_object();
  return object ? object->if_contains({key.data(), key.size()}) : nullptr;
}

GuestEntry ParseEntry(const json::value& value) {
  GuestEntry entry{.name = TextAt(value, "name"), .path = TextAt(value, "path")};
  const std::string type = TextAt(value, "type");
  if (type == "FILE_TYPE_FILE") entry.type = GuestEntry::Type::kFile;
  if (type == "FILE_TYPE_DIRECTORY") entry.type = GuestEntry::Type::kDirectory;
  const json::value* link = Member(value, "isSymlink");
  entry.is_link = Member(value, "symlinkTarget") != nullptr ||
                  (link != nullptr && link->is_bool() && link->get_bool());
  if (Member(value, "mode")) entry.mode = static_cast<unsigned>(NumberAt(value, "mode")) & 0777U;
  return entry;
}

base::Result<std::string> ReadErrorBody(net::HttpClient& client) {
  constexpr std::size_t kMax = std::size_t{64} << 10;
  std::string body(kMax, '\0');
  std::size_t size = 0;
  while (size < body.size()) {
    const std::size_t got =
        TRY(client.ReadSome(std::span(body).subspan(size), Deadline::After(kCallTime)));
    if (got == 0) break;
    size += got;
  }
  body.resize(size);
  return body;
}

// The error that an answer is, after its head.
base::Error AnswerError(net::HttpClient& client, int status) {
  return net::ErrorFromResponse(status, ReadErrorBody(client).value_or(""));
}

}  // namespace

bool IsPlainName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

std::string JoinPath(std::string_view directory, std::string_view name) {
  if (directory.empty()) return std::string(name);
  return fmt::format("{}{}{}", directory, directory.ends_with('/') ? "" : "/", name);
}

std::string_view BaseName(std::string_view path) {
  while (path.ends_with('/')) path.remove_suffix(1);
  path.remove_prefix(std::min(path.rfind('/') + 1, path.size()));
  return IsPlainName(path) ? path : std::string_view();
}

base::Result<net::HttpClient*> GuestFiles::Client() {
  if (!client_ || !client_->reusable()) client_ = TRY(agent_.Connect(Deadline::After(kCallTime)));
  return &*client_;
}

std::string GuestFiles::Target(const std::string& path) const {
  std::string target = "/files?path=" + UrlEncode(path);
  if (!agent_.user().empty()) target += "&username=" + UrlEncode(agent_.user());
  return target;
}

base::Result<std::optional<GuestEntry>> GuestFiles::Stat(const std::string& path) {
  const auto answer = agent_.Call("/filesystem.Filesystem/Stat", json::object{{"path", path}},
                                  Deadline::After(kCallTime));
  if (!answer) {
    if (answer.error().code() == Code::kNotFound) return std::optional<GuestEntry>();
    return std::unexpected(answer.error());
  }
  const json::value* entry = Member(*answer, "entry");
  if (entry == nullptr) return base::Fail(Code::kDataLoss, "stat in the sandbox: no entry");
  return ParseEntry(*entry);
}

base::Result<std::vector<GuestEntry>> GuestFiles::List(const std::string& path) {
  const json::value answer =
      TRY(agent_.Call("/filesystem.Filesystem/ListDir", json::object{{"path", path}, {"depth", 1}},
                      Deadline::After(kCallTime)));
  std::vector<GuestEntry> entries;
  const json::value* list = Member(answer, "entries");
  if (list == nullptr || !list->is_array()) return entries;
  for (const json::value& each : list->get_array()) {
    entries.push_back(ParseEntry(each));
    if (!IsPlainName(entries.back().name)) {
      return base::Fail(Code::kDataLoss,
                        fmt::format("list '{}' in the sandbox: it names a file '{}'", path,
                                    Printable(entries.back().name)));
    }
  }
  return entries;
}

base::Result<> GuestFiles::MakeDir(const std::string& path) {
  const auto made = agent_.Call("/filesystem.Filesystem/MakeDir", json::object{{"path", path}},
                                Deadline::After(kCallTime));
  if (made || made.error().code() == Code::kAlreadyExists) return {};
  return std::unexpected(made.error());
}

base::Result<json::value> GuestFiles::Upload(sys::FdRef from, const std::string& path) {
  net::HttpClient& client = *TRY(Client());
  net::HttpRequest request{.method = "POST", .target = Target(path), .headers = agent_.Headers()};
  request.headers.push_back({"Content-Type", "application/octet-stream"});
  TRY(client.Start(request, net::StreamedBody{}, Stalled()));
  std::string buffer(kChunk, '\0');
  base::Result<> sent;
  while (sent) {
    const ssize_t got = ::read(from.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return base::FailErrno(errno, "read the file to copy");
    if (got == 0) {
      sent = client.FinishBody(Stalled());
      break;
    }
    sent =
        client.Write(std::string_view(buffer).substr(0, static_cast<std::size_t>(got)), Stalled());
  }
  // A server that refuses half-way (no space, a directory) says why before it stops reading.
  const auto head = client.ReadHead(Stalled());
  if (!head) return std::unexpected(sent ? head.error() : sent.error());
  if (head->status < 200 || head->status > 299) {
    return std::unexpected(AnswerError(client, head->status));
  }
  TRY(std::move(sent));
  const std::string body = TRY(ReadErrorBody(client));
  boost::system::error_code error;
  json::value parsed = json::parse(body, error);
  if (error) return base::Fail(Code::kDataLoss, "write a file in the sandbox: malformed answer");
  return parsed;
}

base::Result<std::uint64_t> GuestFiles::Download(const std::string& path, sys::FdRef to) {
  net::HttpClient& client = *TRY(Client());
  const net::HttpRequest request{
      .method = "GET", .target = Target(path), .headers = agent_.Headers(), .body = {}};
  TRY(client.Start(request, Stalled()));
  const net::HttpResponseHead head = TRY(client.ReadHead(Stalled()));
  if (head.status != 200) return std::unexpected(AnswerError(client, head.status));
  std::string buffer(kChunk, '\0');
  std::uint64_t size = 0;
  for (;;) {
    const std::size_t got = TRY(client.ReadSome(buffer, Stalled()));
    if (got == 0) return size;
    TRY(sys::WriteAll(to, std::string_view(buffer).substr(0, got)));
    size += got;
  }
}

base::Result<> GuestFiles::SetMode(unsigned mode, const std::vector<std::string>& paths) {
  constexpr std::size_t kBatch = 200;  // far below the kernel's limit for arguments
  for (std::size_t begin = 0; begin < paths.size(); begin += kBatch) {
    json::array args{fmt::format("{:o}", mode), "--"};
    const std::size_t end = std::min(paths.size(), begin + kBatch);
    for (std::size_t i = begin; i < end; ++i) {
      // Relative paths mean the home, which is where chmod starts.
      args.emplace_back(paths[i]);
    }
    const json::object process{{"cmd", "/bin/chmod"}, {"args", args}};
    net::ConnectStream stream = TRY(agent_.Stream(
        "/process.Process/Start", json::object{{"process", process}, {"stdin", false}}, Stalled()));
    ProcessEvent event;
    std::string said;
    while (auto payload = TRY(stream.Next(Stalled()))) {
      TRY(DecodeProcessEvent(*payload, event));
      if (event.kind == ProcessEvent::Kind::kStderr && said.size() < 1024) said += event.bytes;
      if (event.kind == ProcessEvent::Kind::kEnd && ShellStatus(event) != 0) {
        return base::Fail(Code::kInternal,
                          fmt::format("set modes in the sandbox: {}", Printable(said)));
      }
    }
  }
  return {};
}

}  // namespace tinderbox::cli
