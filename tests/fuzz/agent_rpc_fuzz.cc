// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The messages of the agent's services, and compressed bodies.
#include "agent/gzip.h"
#include "agent/process_request.h"
#include "agent/rpc.h"
#include "tests/fuzz/fuzz.h"

namespace tinderbox {
namespace {

void ReadMessages(std::string_view text) {
  const auto message = agent::Message::Parse(text);
  if (!message) return;
  (void)agent::ParseStart(*message);
  (void)agent::ParseSelector(*message);
  (void)agent::ParseTerminal(*message);
  (void)agent::ParseInput(*message);
  (void)message->String("path");
  (void)message->Uint32("depth");
  (void)message->Bool("recursive");
  (void)message->Bytes("stdin");
  (void)message->Enum("signal");
}

void Decompress(std::string_view bytes) {
  agent::GzipReader reader;
  std::size_t given = 0;
  (void)reader.Feed(bytes, [&](std::string_view piece) -> base::Result<> {
    fuzz::Require(piece.size() <= 64 << 10, "pieces are bounded");
    given += piece.size();
    if (given > 1 << 20) return base::Fail(base::Code::kResourceExhausted, "enough");
    return {};
  });
}

}  // namespace
}  // namespace tinderbox

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tinderbox;
  const std::string_view text = fuzz::Text(data, size);
  ReadMessages(text);
  Decompress(text);
  (void)agent::ChooseEncoding(text);
  return 0;
}
