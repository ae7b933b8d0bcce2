// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The Connect protocol's frames, in both directions: what the agent gets from clients and what the
// client gets from agents. However a stream is split, the same frames come out of it.
#include <vector>

#include "net/connect_client.h"
#include "net/connect_frame.h"
#include "tests/fuzz/fuzz.h"

namespace tinderbox {
namespace {

constexpr std::size_t kMaxPayload = 4096;

struct Decoded {
  std::vector<net::ConnectFrame> frames;
  bool failed = false;
  bool at_boundary = true;
};

void Take(net::ConnectDecoder& decoder, std::string_view bytes, Decoded& into) {
  into.failed = !decoder.Feed(bytes).has_value() || into.failed;
  while (auto frame = decoder.Next()) {
    fuzz::Require(frame->payload.size() <= kMaxPayload, "a payload is within its bound");
    into.frames.push_back(std::move(*frame));
  }
  into.at_boundary = decoder.at_boundary();
}

}  // namespace
}  // namespace tinderbox

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tinderbox;
  fuzz::Pieces pieces(fuzz::Text(data, size));
  Decoded whole, split;
  net::ConnectDecoder first(kMaxPayload), second(kMaxPayload);
  Take(first, pieces.whole(), whole);
  while (!pieces.done()) Take(second, pieces.Next(), split);
  fuzz::Require(whole.failed == split.failed, "a split changes whether a stream is right");
  if (!whole.failed) {
    fuzz::Require(whole.frames.size() == split.frames.size(), "a split changes the frames");
    fuzz::Require(whole.at_boundary == split.at_boundary, "a split changes where a frame ends");
  }
  std::string again;
  for (std::size_t i = 0; i < std::min(whole.frames.size(), split.frames.size()); ++i) {
    fuzz::Require(whole.frames[i].payload == split.frames[i].payload, "a split changes a payload");
    again += net::EncodeConnectFrame(whole.frames[i].flags, whole.frames[i].payload);
  }
  if (!whole.failed) {
    fuzz::Require(pieces.whole().starts_with(again), "encoding is the inverse of decoding");
  }
  const base::Error error = net::ErrorFromResponse(404, pieces.whole());
  fuzz::Require(error.message().size() <= pieces.whole().size() * 8 + 1000, "an error is bounded");
  return 0;
}
