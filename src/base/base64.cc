// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "base/base64.h"

#include <array>
#include <cstdint>

namespace tinderbox::base {
namespace {

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// A value that no shifted sextet has: one test finds a bad character among four.
constexpr std::uint32_t kBad = 0x80000000;

using Table = std::array<std::uint32_t, 256>;

constexpr Table DecodeTable(int shift) {
  Table table{};
  table.fill(kBad);
  for (std::uint32_t i = 0; i < 64; ++i) {
    table[static_cast<unsigned char>(kAlphabet[i])] = i << shift;
  }
  table['-'] = std::uint32_t{62} << shift;
  table['_'] = std::uint32_t{63} << shift;
  return table;
}

// One table per place in a group of four, so that decoding is four loads and three ORs.
constexpr Table kFirst = DecodeTable(18);
constexpr Table kSecond = DecodeTable(12);
constexpr Table kThird = DecodeTable(6);
constexpr Table kFourth = DecodeTable(0);

}  // namespace

void AppendBase64(std::string& out, std::string_view bytes) {
  const std::size_t start = out.size();
  out.resize(start + (bytes.size() + 2) / 3 * 4);
  char* to = out.data() + start;
  const auto* from = reinterpret_cast<const unsigned char*>(bytes.data());
  const auto* const end = from + bytes.size();
  for (; end - from >= 3; from += 3) {
    const std::uint32_t v =
        (std::uint32_t{from[0]} << 16) | (std::uint32_t{from[1]} << 8) | from[2];
    *to++ = kAlphabet[v >> 18];
    *to++ = kAlphabet[(v >> 12) & 63];
    *to++ = kAlphabet[(v >> 6) & 63];
    *to++ = kAlphabet[v & 63];
  }
  if (from == end) return;
  const bool two = end - from == 2;
  const std::uint32_t v =
      (std::uint32_t{from[0]} << 16) | (two ? std::uint32_t{from[1]} << 8 : std::uint32_t{0});
  *to++ = kAlphabet[v >> 18];
  *to++ = kAlphabet[(v >> 12) & 63];
  *to++ = two ? kAlphabet[(v >> 6) & 63] : '=';
  *to++ = '=';
}

std::string EncodeBase64(std::string_view bytes) {
  std::string out;
  AppendBase64(out, bytes);
  return out;
}

Result<> AppendFromBase64(std::string& out, std::string_view text) {
  // Padding completes a last group; it is no licence to stand elsewhere.
  if (text.size() % 4 == 0 && text.ends_with('=')) {
    text.remove_suffix(1);
    if (text.ends_with('=')) text.remove_suffix(1);
  }
  const std::size_t rest = text.size() % 4;
  const std::size_t start = out.size();
  const std::size_t size = text.size() / 4 * 3 + (rest > 0 ? rest - 1 : 0);
  const auto fail = [&out, start] {
    out.resize(start);
    return Fail(Code::kInvalidArgument, "decode base64: not base64");
  };
  if (rest == 1) return fail();
  out.resize(start + size);
  auto* to = reinterpret_cast<unsigned char*>(out.data() + start);
  const auto* from = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const groups_end = from + (text.size() - rest);
  for (; from < groups_end; from += 4) {
    const std::uint32_t v = kFirst[from[0]] | kSecond[from[1]] | kThird[from[2]] | kFourth[from[3]];
    if ((v & kBad) != 0) return fail();
    *to++ = static_cast<unsigned char>(v >> 16);
    *to++ = static_cast<unsigned char>(v >> 8);
    *to++ = static_cast<unsigned char>(v);
  }
  if (rest > 0) {
    std::uint32_t v = kFirst[from[0]] | kSecond[from[1]];
    if (rest == 3) v |= kThird[from[2]];
    if ((v & kBad) != 0) return fail();
    *to++ = static_cast<unsigned char>(v >> 16);
    if (rest == 3) *to++ = static_cast<unsigned char>(v >> 8);
  }
  return {};
}

Result<std::string> DecodeBase64(std::string_view text) {
  std::string out;
  TRY(AppendFromBase64(out, text));
  return out;
}

}  // namespace tinderbox::base
