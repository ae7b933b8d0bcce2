// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "net/connect_client.h"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <cstdint>

namespace tinderbox::net {
namespace {

namespace json = boost::json;
using base::Code;

Code CodeFromStatus(int status) {
  switch (status) {
    case 400:
    case 406:
    case 415: return Code::kInvalidArgument;
    case 401: return Code::kUnauthenticated;
    case 403: return Code::kPermissionDenied;
    case 404: return Code::kNotFound;
    case 409: return Code::kFailedPrecondition;
    case 413:
    case 429:
    case 507: return Code::kResourceExhausted;
    case 499: return Code::kCancelled;
    case 501: return Code::kUnimplemented;
    case 502:
    case 503: return Code::kUnavailable;
    case 504: return Code::kDeadlineExceeded;
    default: return Code::kInternal;
  }
}

// The beginning of a body of unknown kind, fit for a line on a terminal.
std::string Excerpt(std::string_view body) {
  constexpr std::size_t kMax = 200;
  std::string out(body.substr(0, kMax));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = ' ';
  }
  return out;
}

std::string StringAt(const json::object& object, std::string_view key) {
  const json::value* found = object.if_contains({key.data(), key.size()});
  if (found == nullptr || !found->is_string()) return {};
  return std::string(found->get_string());
}

// The error in a Connect error object: {"code":"…","message":"…"}.
base::Error ErrorFromObject(const json::object& object, Code otherwise) {
  const auto named = ConnectCodeFromName(StringAt(object, "code"));
  std::string message = StringAt(object, "message");
  const Code code = named ? BaseCodeFromConnect(*named) : otherwise;
  if (message.empty()) message = std::string(base::CodeName(code));
  std::string remedy = StringAt(object, "remedy");
  return base::Error(code, std::move(message)).WithRemedy(std::move(remedy));
}

HttpRequest MakeRequest(const std::string& path, const HttpHeaders& headers,
                        std::string_view content_type, std::string body) {
  HttpRequest request{
      .method = "POST", .target = path, .headers = headers, .body = std::move(body)};
  request.headers.push_back({"Content-Type", std::string(content_type)});
  request.headers.push_back({"Connect-Protocol-Version", "1"});
  return request;
}

}  // namespace

base::Code BaseCodeFromConnect(ConnectCode code) {
  switch (code) {
    case ConnectCode::kCanceled: return Code::kCancelled;
    case ConnectCode::kUnknown: return Code::kInternal;
    case ConnectCode::kInvalidArgument:
    case ConnectCode::kOutOfRange: return Code::kInvalidArgument;
    case ConnectCode::kDeadlineExceeded: return Code::kDeadlineExceeded;
    case ConnectCode::kNotFound: return Code::kNotFound;
    case ConnectCode::kAlreadyExists: return Code::kAlreadyExists;
    case ConnectCode::kPermissionDenied: return Code::kPermissionDenied;
    case ConnectCode::kResourceExhausted: return Code::kResourceExhausted;
    case ConnectCode::kFailedPrecondition: return Code::kFailedPrecondition;
    case ConnectCode::kAborted: return Code::kAborted;
    case ConnectCode::kUnimplemented: return Code::kUnimplemented;
    case ConnectCode::kInternal: return Code::kInternal;
    case ConnectCode::kUnavailable: return Code::kUnavailable;
    case ConnectCode::kDataLoss: return Code::kDataLoss;
    case ConnectCode::kUnauthenticated: return Code::kUnauthenticated;
  }
  return Code::kInternal;
}

base::Error ErrorFromResponse(int status, std::string_view body) {
  const Code code = CodeFromStatus(status);
  boost::system::error_code error;
  const json::value parsed = json::parse({body.data(), body.size()}, error);
  if (!error && parsed.is_object() && !StringAt(parsed.get_object(), "message").empty()) {
    return ErrorFromObject(parsed.get_object(), code);
  }
  std::string message = fmt::format("the server answered with HTTP status {}", status);
  if (!body.empty()) message += fmt::format(": {}", Excerpt(body));
  return base::Error(code, std::move(message));
}

base::Result<json::value> CallConnect(HttpClient& client, const std::string& path,
                                      const HttpHeaders& headers, const json::value& request,
                                      base::Deadline deadline) {
  const HttpResponse response = TRY(client.Request(
      MakeRequest(path, headers, kConnectUnaryType, json::serialize(request)), deadline));
  if (response.status != 200) {
    return std::unexpected(ErrorFromResponse(response.status, response.body));
  }
  boost::system::error_code error;
  json::value answer = json::parse(response.body, error);
  if (error || !answer.is_object()) {
    return base::Fail(Code::kDataLoss, fmt::format("call {}: the answer is no JSON object: {}",
                                                   path, Excerpt(response.body)));
  }
  return answer;
}

ConnectStream::ConnectStream(HttpClient client)
    : client_(std::move(client)), decoder_(kMaxFrame), buffer_(std::size_t{64} << 10, '\0') {}

base::Result<ConnectStream> ConnectStream::Start(HttpClient client, const std::string& path,
                                                 const HttpHeaders& headers,
                                                 const json::value& request,
                                                 base::Deadline deadline) {
  const HttpRequest message = MakeRequest(path, headers, kConnectStreamType,
                                          EncodeConnectFrame(0, json::serialize(request)));
  ConnectStream stream(std::move(client));
  TRY(stream.client_.Start(message, deadline));
  const HttpResponseHead head = TRY(stream.client_.ReadHead(deadline));
  const std::string_view type = FindHeader(head.headers, "Content-Type").value_or("");
  if (head.status == 200 && type.starts_with(kConnectStreamType)) return stream;

  constexpr std::size_t kMaxErrorBody = std::size_t{64} << 10;
  std::string body;
  while (body.size() < kMaxErrorBody) {
    const auto got = stream.client_.ReadSome(stream.buffer_, deadline);
    if (!got || *got == 0) break;
    body.append(stream.buffer_, 0, *got);
  }
  if (head.status != 200) return std::unexpected(ErrorFromResponse(head.status, body));
  return base::Fail(Code::kDataLoss,
                    fmt::format("call {}: the answer is no stream but '{}'", path, Excerpt(type)));
}

base::Result<std::optional<std::string>> ConnectStream::End(std::string_view payload) {
  ended_ = true;
  boost::system::error_code error;
  const json::value parsed = json::parse({payload.data(), payload.size()}, error);
  if (error || !parsed.is_object()) {
    return base::Fail(Code::kDataLoss, "read a stream: its end is no JSON object");
  }
  const json::value* failure = parsed.get_object().if_contains("error");
  if (failure == nullptr || failure->is_null()) return std::optional<std::string>();
  if (!failure->is_object()) return base::Fail(Code::kDataLoss, "read a stream: malformed error");
  return std::unexpected(ErrorFromObject(failure->get_object(), Code::kInternal));
}

base::Result<std::optional<std::string>> ConnectStream::Next(base::Deadline deadline) {
  for (;;) {
    if (ended_) return std::optional<std::string>();
    if (auto frame = decoder_.Next()) {
      if (frame->end_stream()) return End(frame->payload);
      return std::optional<std::string>(std::move(frame->payload));
    }
    const std::size_t got = TRY(client_.ReadSome(buffer_, deadline));
    if (got == 0) {
      ended_ = true;
      return base::Fail(Code::kUnavailable, "read a stream: it ended without its end-stream frame");
    }
    TRY(decoder_.Feed(std::string_view(buffer_).substr(0, got)));
  }
}

}  // namespace tinderbox::net
