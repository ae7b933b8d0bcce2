// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Heads and bodies that pass between a guest and a server. However the bytes are split, a body ends
// at one place; a head that was rewritten reads as the same request, with what was set in it.
#include "intercept/body.h"
#include "intercept/http_head.h"
#include "tests/fuzz/fuzz.h"

namespace tinderbox {
namespace {

using intercept::Body;
using intercept::Framing;

// Where the body ends in `bytes`; -1: broken, -2: not here.
long EndOf(const Framing& framing, std::string_view bytes, std::size_t step) {
  Body body(framing);
  std::size_t at = 0;
  while (at < bytes.size() && !body.done()) {
    const std::string_view piece = bytes.substr(at, step);
    const auto taken = body.Take(piece);
    if (!taken) return -1;
    fuzz::Require(*taken <= piece.size(), "no more is taken than there is");
    at += *taken;
  }
  return body.done() ? static_cast<long>(at) : -2;
}

void CheckBody(const Framing& framing, std::string_view bytes) {
  const long whole = EndOf(framing, bytes, bytes.size() + 1);
  for (const std::size_t step : {1, 2, 3, 7}) {
    fuzz::Require(EndOf(framing, bytes, step) == whole, "a body ends where it ends");
  }
}

void CheckRequest(std::string_view head) {
  const auto request = intercept::ParseRequest(head);
  if (!request) return;
  const net::HeaderList set{{"Authorization", "ours"}};
  const std::string rewritten = intercept::Rewrite(*request, set);
  fuzz::Require(intercept::HeadLength(rewritten).value_or(0) == rewritten.size(), "it is one head");
  // One more than we take of a guest is no matter on the way out.
  if (request->headers.size() >= intercept::kMostFields) return;
  const auto again = intercept::ParseRequest(rewritten);
  fuzz::Require(again.has_value(), "what was rewritten is read again");
  fuzz::Require(again->target == request->target && again->method == request->method &&
                    again->body.kind == request->body.kind &&
                    again->body.length == request->body.length,
                "it is the same request");
  std::size_t ours = 0;
  for (const auto& [name, value] : again->headers) {
    if (!net::EqualsIgnoreCase(name, "Authorization")) continue;
    fuzz::Require(value == "ours", "nothing of the caller's stays");
    ++ours;
  }
  fuzz::Require(ours == 1, "what is set is there once");
  fuzz::Require(intercept::IsFor(*again, "example.com", 443) ==
                    intercept::IsFor(*request, "example.com", 443),
                "it is for the same host");
}

}  // namespace
}  // namespace tinderbox

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tinderbox;
  const std::string_view bytes = fuzz::Text(data, size);
  const auto length = intercept::HeadLength(bytes);
  if (length && *length > 0) {
    const std::string_view head = bytes.substr(0, *length);
    CheckRequest(head);
    (void)intercept::ParseResponse(head, false);
    CheckBody({.kind = Framing::Kind::kChunked}, bytes.substr(*length));
  }
  CheckBody({.kind = Framing::Kind::kChunked}, bytes);
  CheckBody({.kind = Framing::Kind::kLength, .length = size / 2}, bytes);
  return 0;
}
