// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/last_words.h"

namespace tinderbox::vmm {

std::string LastWords(std::string_view text, std::size_t max) {
  std::string words;
  for (const char c : text) {
    const char shown = c == '\n' || c == '\r' || c == '\t' ? ' ' : c;
    if (shown == ' ' && (words.empty() || words.back() == ' ')) continue;
    words += shown < ' ' || shown > '~' ? '?' : shown;
  }
  if (words.ends_with(' ')) words.pop_back();
  return words.size() <= max ? words : "…" + words.substr(words.size() - max);
}

}  // namespace tinderbox::vmm
