// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/quote.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

namespace tinderbox::cli {

std::string ShellQuote(std::string_view text) {
  const bool plain = !text.empty() && std::ranges::all_of(text, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) ||
           std::string_view("_-+=@%:,./").contains(c);
  });
  if (plain) return std::string(text);
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

std::string UrlEncode(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) || std::string_view("-._~").contains(c)) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", byte);
    }
  }
  return out;
}

std::string Printable(std::string_view text, std::string_view keep) {
  std::string out;
  out.reserve(text.size());
  int continuation = 0;  // bytes that the character before is still to have
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool continues = (byte & 0xc0) == 0x80;
    if (continues && continuation > 0) {
      --continuation;
      out += text[i];
      continue;
    }
    continuation = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : byte >= 0xc0 ? 1 : 0;
    if (byte == 0xc2 && (i + 1 == text.size() || static_cast<unsigned char>(text[i + 1]) < 0xa0)) {
      // U+0080 to U+009F are 0xc2 and one byte more, which may be in a text that follows.
      const bool whole = i + 1 < text.size() && (text[i + 1] & 0xc0) == 0x80;
      i += whole ? 1 : 0;
      continuation = 0;
      out += '?';
    } else if (((byte < ' ' || byte == 0x7f) && !keep.contains(text[i])) || continues) {
      out += '?';
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string PrintableLines(std::string_view text) {
  std::string out = Printable(text, "\n\t\r");
  // A carriage return alone would overwrite what stands in the line.
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (out[i] == '\r' && i + 1 < out.size() && out[i + 1] != '\n') out[i] = '?';
  }
  return out;
}

}  // namespace tinderbox::cli
