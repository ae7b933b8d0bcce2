// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json.hpp>
#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "agent/process.h"
#include "net/connect_frame.h"
#include "net/http_server.h"

// The Connect protocol on top of net::Exchange, and the JSON mapping of protobuf messages: both
// lowerCamelCase and original field names are read, null counts as absent, unknown fields are
// passed over.
namespace tinderbox::agent {

inline constexpr std::size_t kMaxRpcMessage = 16 << 20;

// Answers for every route, with the open CORS header.
net::HeaderList AnswerHeaders(std::string content_type);
// {"code":STATUS,"message":"…"}
net::Task<> RespondError(net::Exchange& exchange, unsigned status, std::string message);

// Fields of a message. A field of the wrong type is invalid_argument, an absent one no value.
class Message {
 public:
  static RpcResult<Message> Parse(std::string_view text);
  explicit Message(boost::json::object object) : object_(std::move(object)) {}

  RpcResult<std::optional<std::string>> String(std::string_view name) const;
  RpcResult<std::optional<bool>> Bool(std::string_view name) const;
  RpcResult<std::optional<std::uint32_t>> Uint32(std::string_view name) const;
  RpcResult<std::optional<std::string>> Bytes(std::string_view name) const;
  RpcResult<std::optional<Message>> Sub(std::string_view name) const;
  RpcResult<std::vector<std::string>> Strings(std::string_view name) const;
  RpcResult<std::map<std::string, std::string>> StringMap(std::string_view name) const;
  // An enum by name or number.
  RpcResult<std::string> Enum(std::string_view name) const;

 private:
  const boost::json::value* Find(std::string_view name) const;
  boost::json::object object_;
};

// One unary call: reads the request, calls `method`, answers with its message or error.
using UnaryMethod = std::function<AsyncRpcResult<boost::json::object>(Message)>;
net::Task<> ServeUnary(net::Exchange& exchange, UnaryMethod method);

// The one message of a server-streaming call.
AsyncRpcResult<Message> ReadStreamRequest(net::Exchange& exchange);
// Ends a streaming call that has sent nothing yet: 200 and an error in the end-stream frame,
// because clients drop the body of any other status.
net::Task<> RefuseStream(net::Exchange& exchange, net::ConnectError error);

// Connect-Timeout-Ms from now on; max where there is none.
RpcResult<Wakeup::TimePoint> StreamDeadline(const net::HeaderList& headers);
// Keepalive-Ping-Interval, 90 s where there is none.
std::chrono::seconds KeepaliveInterval(const net::HeaderList& headers);

}  // namespace tinderbox::agent

// CO_TRY for RpcResult is the same macro: the error is passed on as it is.
#define RPC_TRY_NAME2_(line) rpc_try_result_##line
#define RPC_TRY_NAME_(line) RPC_TRY_NAME2_(line)
#define RPC_TRY_IMPL_(result, keyword, declaration, expr)          \
  auto result = (expr);                                            \
  if (!result) keyword std::unexpected(std::move(result).error()); \
  declaration = std::move(result).value()
#define RPC_TRY(declaration, expr) RPC_TRY_IMPL_(RPC_TRY_NAME_(__LINE__), return, declaration, expr)
#define RPC_CO_TRY(declaration, expr) \
  RPC_TRY_IMPL_(RPC_TRY_NAME_(__LINE__), co_return, declaration, expr)
