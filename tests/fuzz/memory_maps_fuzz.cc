// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// A hostile VMM whose memory is captured: it chooses its mappings (the text of /proc/PID/maps), and
// which of its pages look changed.
#include <algorithm>
#include <cstring>

#include "sys/pagemap.h"
#include "tests/fuzz/fuzz.h"

namespace tinderbox {
namespace {

constexpr std::uint64_t kInode = 42;

// Takes a number off the front of the input.
std::uint64_t Take(std::string_view& input) {
  std::uint64_t number = 0;
  const std::size_t size = std::min(input.size(), sizeof number);
  std::memcpy(&number, input.data(), size);
  input.remove_prefix(size);
  return number;
}

void CheckPieces(const std::vector<sys::FileMapping>& cover, std::uint64_t size,
                 std::string_view input) {
  std::vector<sys::PageRange> ranges;
  while (!input.empty()) {
    const std::uint64_t begin = Take(input);
    ranges.push_back({begin, begin + (Take(input) >> 40)});
  }
  ranges.push_back({0, ~std::uint64_t{0}});  // all of it
  std::uint64_t total = 0;
  for (const sys::FilePiece& piece : sys::PiecesOf(cover, std::move(ranges))) {
    fuzz::Require(piece.offset <= size && piece.size <= size - piece.offset,
                  "a piece lies in the file");
    total += piece.size;
  }
  fuzz::Require(total == size, "each byte of the file is in one piece");
}

}  // namespace
}  // namespace tinderbox

// The input: the file's size (pages), the number of ranges, the ranges, the text of the mappings.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tinderbox;
  std::string_view text = fuzz::Text(data, size);
  if (text.size() < 2) return 0;
  const std::uint64_t bytes = std::uint64_t{static_cast<std::uint8_t>(text[0])} << 12;
  const std::size_t ranges =
      std::min<std::size_t>(static_cast<std::uint8_t>(text[1]) * 16, text.size() - 2);
  const std::string_view range_bytes = text.substr(2, ranges);
  text.remove_prefix(2 + ranges);
  const auto mappings = sys::ParseMappings(text, kInode);
  if (!mappings) return 0;
  fuzz::Require(mappings->size() <= sys::kMaxFileMappings, "the mappings are bounded");
  const auto cover = sys::CoverFile(*mappings, bytes);
  std::uint64_t at = 0;
  for (const sys::FileMapping& mapping : cover) {
    fuzz::Require(mapping.offset == at && mapping.begin < mapping.end, "there is no gap");
    fuzz::Require(mapping.end - mapping.begin <= bytes - at, "nothing is behind the file's end");
    at += mapping.end - mapping.begin;
  }
  fuzz::Require(cover.empty() || at == bytes, "all of the file is covered");
  if (!cover.empty()) CheckPieces(cover, bytes, range_bytes);
  return 0;
}
