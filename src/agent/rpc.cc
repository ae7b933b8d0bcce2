// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/rpc.h"

#include <fmt/format.h>

#include <charconv>

#include "base/base64.h"

namespace tinderbox::agent {
namespace {

namespace json = boost::json;
using net::ConnectCode;
using net::ConnectError;

constexpr int kMaxDepth = 16;
constexpr std::chrono::seconds kDefaultKeepalive{90};

std::unexpected<ConnectError> WrongType(std::string_view name, std::string_view wanted) {
  return RpcFail(ConnectCode::kInvalidArgument, fmt::format("field '{}' is not {}", name, wanted));
}

ConnectError FromBase(const base::Error& error) {
  return {net::ConnectCodeFromBase(error.code()), error.ToString()};
}

std::string SnakeCase(std::string_view camel) {
  std::string snake;
  for (const char c : camel) {
    if (c >= 'A' && c <= 'Z') {
      snake += '_';
      snake += static_cast<char>(c + 32);
    } else {
      snake += c;
    }
  }
  return snake;
}

std::optional<std::uint64_t> ParseNumber(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

net::HeaderList AnswerHeaders(std::string content_type) {
  net::HeaderList headers{{"Access-Control-Allow-Origin", "*"},
                          {"Access-Control-Expose-Headers", "*"}};
  if (!content_type.empty()) headers.Add("Content-Type", std::move(content_type));
  return headers;
}

net::Task<> RespondError(net::Exchange& exchange, unsigned status, std::string message) {
  json::object body;
  body["code"] = status;
  body["message"] = message;
  (void)co_await exchange.Respond(status, AnswerHeaders("application/json"), json::serialize(body));
}

// --- Messages

RpcResult<Message> Message::Parse(std::string_view text) {
  if (text.empty()) return Message(json::object());
  boost::system::error_code ec;
  json::parse_options options;
  options.max_depth = kMaxDepth;
  json::value value = json::parse(json::string_view(text.data(), text.size()), ec, {}, options);
  if (ec || !value.is_object()) {
    return RpcFail(ConnectCode::kInvalidArgument, "the message is not a JSON object");
  }
  return Message(std::move(value.get_object()));
}

const json::value* Message::Find(std::string_view name) const {
  const json::value* value = object_.if_contains(json::string_view(name.data(), name.size()));
  if (value == nullptr) value = object_.if_contains(SnakeCase(name));
  return value == nullptr || value->is_null() ? nullptr : value;
}

RpcResult<std::optional<std::string>> Message::String(std::string_view name) const {
  const json::value* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) return WrongType(name, "a string");
  return std::string(value->get_string().data(), value->get_string().size());
}

RpcResult<std::optional<bool>> Message::Bool(std::string_view name) const {
  const json::value* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_bool()) return WrongType(name, "a boolean");
  return value->get_bool();
}

RpcResult<std::optional<std::uint32_t>> Message::Uint32(std::string_view name) const {
  const json::value* value = Find(name);
  if (value == nullptr) return std::nullopt;
  std::optional<std::uint64_t> number;
  if (value->is_string()) {
    const auto& text = value->get_string();
    number = ParseNumber({text.data(), text.size()});
  } else if (value->is_int64() && value->get_int64() >= 0) {
    number = static_cast<std::uint64_t>(value->get_int64());
  } else if (value->is_uint64()) {
    number = value->get_uint64();
  }
  if (!number || *number > UINT32_MAX) return WrongType(name, "an unsigned 32-bit number");
  return static_cast<std::uint32_t>(*number);
}

RpcResult<std::optional<std::string>> Message::Bytes(std::string_view name) const {
  const json::value* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) return WrongType(name, "base64");
  const auto& text = value->get_string();
  base::Result<std::string> bytes = base::DecodeBase64({text.data(), text.size()});
  if (!bytes) return WrongType(name, "base64");
  return *std::move(bytes);
}

RpcResult<std::optional<Message>> Message::Sub(std::string_view name) const {
  const json::value* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) return WrongType(name, "a message");
  return Message(value->get_object());
}

RpcResult<std::vector<std::string>> Message::Strings(std::string_view name) const {
  std::vector<std::string> strings;
  const json::value* value = Find(name);
  if (value == nullptr) return strings;
  if (!value->is_array()) return WrongType(name, "a list of strings");
  for (const json::value& item : value->get_array()) {
    if (!item.is_string()) return WrongType(name, "a list of strings");
    strings.emplace_back(item.get_string().data(), item.get_string().size());
  }
  return strings;
}

RpcResult<std::map<std::string, std::string>> Message::StringMap(std::string_view name) const {
  std::map<std::string, std::string> strings;
  const json::value* value = Find(name);
  if (value == nullptr) return strings;
  if (!value->is_object()) return WrongType(name, "a map of strings");
  for (const auto& [key, item] : value->get_object()) {
    if (!item.is_string()) return WrongType(name, "a map of strings");
    strings[std::string(key)] = std::string(item.get_string().data(), item.get_string().size());
  }
  return strings;
}

RpcResult<std::string> Message::Enum(std::string_view name) const {
  const json::value* value = Find(name);
  if (value == nullptr) return std::string();
  if (value->is_int64()) return std::to_string(value->get_int64());
  if (!value->is_string()) return WrongType(name, "an enum");
  return std::string(value->get_string().data(), value->get_string().size());
}

// --- Calls

net::Task<> ServeUnary(net::Exchange& exchange, UnaryMethod method) {
  exchange.SetBodyLimit(kMaxRpcMessage);
  RpcResult<json::object> answer;
  base::Result<std::string> body = co_await exchange.ReadBody(kMaxRpcMessage);
  if (!body) {
    answer = std::unexpected(FromBase(body.error()));
  } else {
    RpcResult<Message> message = Message::Parse(*body);
    body->clear();
    body->shrink_to_fit();
    if (message) {
      answer = co_await method(*std::move(message));
    } else {
      answer = std::unexpected(message.error());
    }
  }
  if (answer) {
    (void)co_await exchange.Respond(200, AnswerHeaders(std::string(net::kConnectUnaryType)),
                                    json::serialize(*answer));
  } else {
    (void)co_await exchange.Respond(net::ConnectHttpStatus(answer.error().code),
                                    AnswerHeaders(std::string(net::kConnectUnaryType)),
                                    net::ConnectErrorJson(answer.error()));
  }
}

AsyncRpcResult<Message> ReadStreamRequest(net::Exchange& exchange) {
  exchange.SetBodyLimit(kMaxRpcMessage + net::kConnectFrameHead);
  const base::Result<std::string> body =
      co_await exchange.ReadBody(kMaxRpcMessage + net::kConnectFrameHead);
  if (!body) co_return std::unexpected(FromBase(body.error()));
  net::ConnectDecoder decoder(kMaxRpcMessage);
  const base::Result<> fed = decoder.Feed(*body);
  if (!fed) co_return std::unexpected(FromBase(fed.error()));
  const std::optional<net::ConnectFrame> frame = decoder.Next();
  if (!frame || frame->end_stream() || !decoder.at_boundary()) {
    co_return RpcFail(ConnectCode::kInvalidArgument, "the call needs exactly one message");
  }
  co_return Message::Parse(frame->payload);
}

net::Task<> RefuseStream(net::Exchange& exchange, ConnectError error) {
  (void)co_await exchange.Respond(200, AnswerHeaders(std::string(net::kConnectStreamType)),
                                  net::EncodeConnectEnd(error));
}

RpcResult<Wakeup::TimePoint> StreamDeadline(const net::HeaderList& headers) {
  const std::string_view text = headers.Get("Connect-Timeout-Ms");
  if (text.empty()) return Wakeup::TimePoint::max();
  const std::optional<std::uint64_t> ms = ParseNumber(text);
  if (!ms || text.size() > 10) {
    return RpcFail(ConnectCode::kInvalidArgument,
                   fmt::format("Connect-Timeout-Ms '{}' is not a number of up to 10 digits", text));
  }
  return std::chrono::steady_clock::now() + std::chrono::milliseconds(*ms);
}

std::chrono::seconds KeepaliveInterval(const net::HeaderList& headers) {
  const std::optional<std::uint64_t> seconds = ParseNumber(headers.Get("Keepalive-Ping-Interval"));
  if (!seconds || *seconds == 0 || *seconds > 86400) return kDefaultKeepalive;
  return std::chrono::seconds(*seconds);
}

}  // namespace tinderbox::agent
