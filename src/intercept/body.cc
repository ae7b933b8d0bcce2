// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "intercept/body.h"

#include <algorithm>

namespace tinderbox::intercept {
namespace {

constexpr std::size_t kMostDigits = 15;
constexpr std::size_t kMostExtension = 1024;
constexpr std::size_t kMostTrailers = 16 << 10;

std::unexpected<base::Error> Broken() {
  return base::Fail(base::Code::kInvalidArgument, "the message's chunks are broken");
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool IsPlain(char c) { return (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) || c == '\t'; }

}  // namespace

Body::Body(const Framing& framing) : state_(State::kDone) {
  switch (framing.kind) {
    case Framing::Kind::kNone: break;
    case Framing::Kind::kLength:
      left_ = framing.length;
      if (left_ > 0) state_ = State::kLength;
      break;
    case Framing::Kind::kChunked: state_ = State::kSize; break;
    case Framing::Kind::kUntilClose: state_ = State::kUntilClose; break;
  }
}

base::Result<std::size_t> Body::Take(std::string_view bytes) {
  if (state_ == State::kUntilClose) return bytes.size();
  std::size_t taken = 0;
  while (taken < bytes.size() && state_ != State::kDone) {
    if (state_ != State::kLength && state_ != State::kData) {
      TRY(Step(bytes[taken++]));
      continue;
    }
    const auto n = static_cast<std::size_t>(std::min<std::uint64_t>(left_, bytes.size() - taken));
    taken += n;
    left_ -= n;
    if (left_ == 0) state_ = state_ == State::kLength ? State::kDone : State::kDataEnd;
  }
  return taken;
}

base::Result<> Body::Step(char c) {
  const auto expect = [this, c](char wanted, State next) -> base::Result<> {
    if (c != wanted) return Broken();
    state_ = next;
    return {};
  };
  switch (state_) {
    case State::kSize:
      if (const int digit = HexDigit(c); digit >= 0) {
        if (++digits_ > kMostDigits) return Broken();
        left_ = left_ * 16 + static_cast<std::uint64_t>(digit);
        return {};
      }
      if (digits_ == 0) return Broken();
      line_ = 0;
      if (c == '\r') return expect('\r', State::kSizeEnd);
      if (c != ';' && c != ' ' && c != '\t') return Broken();
      state_ = State::kExtension;
      return {};
    case State::kExtension:
      if (c == '\r') return expect('\r', State::kSizeEnd);
      if (!IsPlain(c) || ++line_ > kMostExtension) return Broken();
      return {};
    case State::kSizeEnd:
      digits_ = 0;
      return expect('\n', left_ > 0 ? State::kData : State::kTrailer);
    case State::kDataEnd: return expect('\r', State::kDataEndEnd);
    case State::kDataEndEnd: return expect('\n', State::kSize);
    case State::kTrailer:
      if (c == '\r') return expect('\r', State::kEndEnd);
      state_ = State::kTrailerLine;
      [[fallthrough]];
    case State::kTrailerLine:
      if (c == '\r') return expect('\r', State::kTrailerLineEnd);
      if (!IsPlain(c) || ++trailers_ > kMostTrailers) return Broken();
      return {};
    case State::kTrailerLineEnd: return expect('\n', State::kTrailer);
    case State::kEndEnd: return expect('\n', State::kDone);
    case State::kLength:
    case State::kUntilClose:
    case State::kData:
    case State::kDone: break;
  }
  return {};
}

}  // namespace tinderbox::intercept
