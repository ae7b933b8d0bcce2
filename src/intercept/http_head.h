// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "net/http_message.h"

// The heads of HTTP/1 requests and responses, as they came: what is not changed is passed on byte
// for byte. Pure functions over hostile bytes; anything that two readers could take for two
// different things is refused.
namespace tinderbox::intercept {

inline constexpr std::size_t kMostHead = 64 << 10;
inline constexpr std::size_t kMostFields = 200;

// How a message's body is delimited.
struct Framing {
  enum class Kind { kNone, kLength, kChunked, kUntilClose } kind = Kind::kNone;
  std::uint64_t length = 0;
};

struct RequestText {
  std::string method;
  std::string target;
  bool http_1_0 = false;
  net::HeaderList headers;
  Framing body;
  bool upgrade = false;  // asks to leave HTTP
  bool close = false;    // the client's last one
};

struct ResponseText {
  unsigned status = 0;
  Framing body;
  bool close = false;  // the server's last one
};

// Bytes of a head at the front of `bytes`, its empty line included; 0 where it is not complete yet.
// kInvalidArgument where it has more than kMostHead bytes. It was not complete in the first `seen`.
base::Result<std::size_t> HeadLength(std::string_view bytes, std::size_t seen = 0);

// Both take a whole head. kInvalidArgument says what is wrong.
base::Result<RequestText> ParseRequest(std::string_view head);
// `to_head`: the answer to a HEAD, which has no body whatever it says.
base::Result<ResponseText> ParseResponse(std::string_view head, bool to_head);

// Whether the request is for `name` (normal) at `port`, by its one Host field and its target. What
// speaks of another is misdirected.
bool IsFor(const RequestText& request, std::string_view name, std::uint16_t port);

// The head with `set` in the place of every field of those names.
std::string Rewrite(const RequestText& request, const net::HeaderList& set);

}  // namespace tinderbox::intercept
