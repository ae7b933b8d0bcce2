// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "net/connect_frame.h"

#include <fmt/format.h>

#include <array>
#include <boost/json.hpp>

namespace tinderbox::net {
namespace {

struct CodeRow {
  ConnectCode code;
  std::string_view name;
  unsigned status;
};

// Source: connectrpc.com/docs/protocol#error-codes, with E2B's 499 for canceled.
constexpr std::array<CodeRow, 16> kCodes = {{
    {ConnectCode::kCanceled, "canceled", 499},
    {ConnectCode::kUnknown, "unknown", 500},
    {ConnectCode::kInvalidArgument, "invalid_argument", 400},
    {ConnectCode::kDeadlineExceeded, "deadline_exceeded", 504},
    {ConnectCode::kNotFound, "not_found", 404},
    {ConnectCode::kAlreadyExists, "already_exists", 409},
    {ConnectCode::kPermissionDenied, "permission_denied", 403},
    {ConnectCode::kResourceExhausted, "resource_exhausted", 429},
    {ConnectCode::kFailedPrecondition, "failed_precondition", 400},
    {ConnectCode::kAborted, "aborted", 409},
    {ConnectCode::kOutOfRange, "out_of_range", 400},
    {ConnectCode::kUnimplemented, "unimplemented", 501},
    {ConnectCode::kInternal, "internal", 500},
    {ConnectCode::kUnavailable, "unavailable", 503},
    {ConnectCode::kDataLoss, "data_loss", 500},
    {ConnectCode::kUnauthenticated, "unauthenticated", 401},
}};

const CodeRow& Row(ConnectCode code) { return kCodes[static_cast<std::size_t>(code) - 1]; }

boost::json::object ErrorObject(const ConnectError& error) {
  boost::json::object object;
  object["code"] = ConnectCodeName(error.code);
  object["message"] = error.message;
  return object;
}

std::uint32_t FrameLength(std::string_view head) {
  std::uint32_t length = 0;
  for (int i = 1; i <= 4; ++i) length = length << 8 | static_cast<std::uint8_t>(head[i]);
  return length;
}

}  // namespace

std::string_view ConnectCodeName(ConnectCode code) { return Row(code).name; }
unsigned ConnectHttpStatus(ConnectCode code) { return Row(code).status; }

std::optional<ConnectCode> ConnectCodeFromName(std::string_view name) {
  for (const CodeRow& row : kCodes) {
    if (row.name == name) return row.code;
  }
  return std::nullopt;
}

ConnectCode ConnectCodeFromBase(base::Code code) {
  switch (code) {
    case base::Code::kInvalidArgument: return ConnectCode::kInvalidArgument;
    case base::Code::kUnauthenticated: return ConnectCode::kUnauthenticated;
    case base::Code::kPermissionDenied: return ConnectCode::kPermissionDenied;
    case base::Code::kNotFound: return ConnectCode::kNotFound;
    case base::Code::kAlreadyExists: return ConnectCode::kAlreadyExists;
    case base::Code::kFailedPrecondition: return ConnectCode::kFailedPrecondition;
    case base::Code::kResourceExhausted: return ConnectCode::kResourceExhausted;
    case base::Code::kAborted: return ConnectCode::kAborted;
    case base::Code::kUnavailable: return ConnectCode::kUnavailable;
    case base::Code::kDeadlineExceeded: return ConnectCode::kDeadlineExceeded;
    case base::Code::kCancelled: return ConnectCode::kCanceled;
    case base::Code::kUnimplemented: return ConnectCode::kUnimplemented;
    case base::Code::kDataLoss: return ConnectCode::kDataLoss;
    case base::Code::kInternal: return ConnectCode::kInternal;
  }
  return ConnectCode::kUnknown;
}

std::string ConnectErrorJson(const ConnectError& error) {
  return boost::json::serialize(ErrorObject(error));
}

void AppendConnectHead(std::string& out, std::uint8_t flags, std::uint32_t length) {
  const std::size_t at = out.size();
  out.append(kConnectFrameHead, '\0');
  out[at] = static_cast<char>(flags);
  PatchConnectLength(out, at, length);
}

void PatchConnectLength(std::string& frame, std::size_t at, std::uint32_t length) {
  for (int i = 0; i < 4; ++i) frame[at + 1 + i] = static_cast<char>(length >> (24 - 8 * i));
}

std::string EncodeConnectFrame(std::uint8_t flags, std::string_view json) {
  std::string frame;
  frame.reserve(kConnectFrameHead + json.size());
  AppendConnectHead(frame, flags, static_cast<std::uint32_t>(json.size()));
  frame += json;
  return frame;
}

std::string EncodeConnectEnd(const std::optional<ConnectError>& error) {
  boost::json::object end;
  if (error) end["error"] = ErrorObject(*error);
  return EncodeConnectFrame(kConnectFlagEndStream, boost::json::serialize(end));
}

base::Result<> ConnectDecoder::Feed(std::string_view bytes) {
  if (failed_) return std::unexpected(*failed_);
  pending_.erase(0, consumed_);
  consumed_ = 0;
  pending_ += bytes;
  // Every head that is in the buffer is judged now, so that no oversized frame is ever collected.
  base::Result<> checked = CheckHead();
  if (!checked) failed_ = checked.error();
  return checked;
}

base::Result<> ConnectDecoder::CheckHead() {
  std::size_t at = 0;
  bool ended = ended_;
  while (pending_.size() > at) {
    if (ended) return base::Fail(base::Code::kInvalidArgument, "read frame: bytes after the end");
    const std::string_view head = std::string_view(pending_).substr(at);
    const auto flags = static_cast<std::uint8_t>(head[0]);
    if ((flags & ~kConnectFlagEndStream) != 0) {
      return base::Fail(base::Code::kInvalidArgument,
                        fmt::format("read frame: flags {:#x} are not supported", flags));
    }
    if (head.size() < kConnectFrameHead) break;
    const std::uint32_t length = FrameLength(head);
    if (length > max_payload_) {
      return base::Fail(base::Code::kResourceExhausted,
                        fmt::format("read frame: {} bytes, the limit is {}", length, max_payload_));
    }
    if (head.size() < kConnectFrameHead + length) break;
    ended = (flags & kConnectFlagEndStream) != 0;
    at += kConnectFrameHead + length;
  }
  return {};
}

std::optional<ConnectFrame> ConnectDecoder::Next() {
  if (failed_) return std::nullopt;
  const std::string_view rest = std::string_view(pending_).substr(consumed_);
  if (rest.size() < kConnectFrameHead) return std::nullopt;
  const std::uint32_t length = FrameLength(rest);
  if (rest.size() < kConnectFrameHead + length) return std::nullopt;
  ConnectFrame frame{static_cast<std::uint8_t>(rest[0]),
                     std::string(rest.substr(kConnectFrameHead, length))};
  consumed_ += kConnectFrameHead + length;
  ended_ = ended_ || frame.end_stream();
  return frame;
}

}  // namespace tinderbox::net
