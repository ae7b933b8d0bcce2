// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

// The Connect protocol's framing, JSON codec only (docs/adr/0002-connect-json-only.md). A stream's
// body is a row of frames: one flag byte, four bytes of length (big endian), that many bytes of
// JSON. Source: connectrpc.com/docs/protocol.
namespace tinderbox::net {

inline constexpr std::string_view kConnectUnaryType = "application/json";
inline constexpr std::string_view kConnectStreamType = "application/connect+json";
inline constexpr std::uint8_t kConnectFlagCompressed = 0x01;
inline constexpr std::uint8_t kConnectFlagEndStream = 0x02;
inline constexpr std::size_t kConnectFrameHead = 5;

enum class ConnectCode {
  kCanceled = 1,
  kUnknown,
  kInvalidArgument,
  kDeadlineExceeded,
  kNotFound,
  kAlreadyExists,
  kPermissionDenied,
  kResourceExhausted,
  kFailedPrecondition,
  kAborted,
  kOutOfRange,
  kUnimplemented,
  kInternal,
  kUnavailable,
  kDataLoss,
  kUnauthenticated,
};

// "not_found" and so on.
std::string_view ConnectCodeName(ConnectCode code);
std::optional<ConnectCode> ConnectCodeFromName(std::string_view name);
// The status of a unary answer that carries this code.
unsigned ConnectHttpStatus(ConnectCode code);
ConnectCode ConnectCodeFromBase(base::Code code);

struct ConnectError {
  ConnectCode code = ConnectCode::kUnknown;
  std::string message;
};

// {"code":"not_found","message":"…"}: the body of a unary error.
std::string ConnectErrorJson(const ConnectError& error);

// One frame.
std::string EncodeConnectFrame(std::uint8_t flags, std::string_view json);
// Appends a frame's head to `out`, for callers that build the payload in place.
void AppendConnectHead(std::string& out, std::uint8_t flags, std::uint32_t length);
// Writes `length` into a head that stands at `at` in `frame`.
void PatchConnectLength(std::string& frame, std::size_t at, std::uint32_t length);
// The end-stream frame: {} or {"error":{…}}.
std::string EncodeConnectEnd(const std::optional<ConnectError>& error = std::nullopt);

struct ConnectFrame {
  std::uint8_t flags = 0;
  std::string payload;
  bool end_stream() const { return (flags & kConnectFlagEndStream) != 0; }
};

// Cuts a byte stream into frames, however it is split. Holds at most `max_payload` bytes and a
// head.
class ConnectDecoder {
 public:
  explicit ConnectDecoder(std::size_t max_payload) : max_payload_(max_payload) {}

  // Takes bytes in. kResourceExhausted where a frame announces more than `max_payload`,
  // kInvalidArgument for compressed or unknown flags, and for bytes after the end-stream frame.
  // After an error the decoder stays in it.
  base::Result<> Feed(std::string_view bytes);
  // The next whole frame, if one is there. Call until empty after each Feed.
  std::optional<ConnectFrame> Next();
  // True where the stream may end here: no frame is half-way.
  bool at_boundary() const { return consumed_ == pending_.size(); }

 private:
  base::Result<> CheckHead();

  std::size_t max_payload_;
  std::string pending_;
  std::size_t consumed_ = 0;  // bytes of pending_ that Next has given out
  bool ended_ = false;
  std::optional<base::Error> failed_;
};

}  // namespace tinderbox::net
