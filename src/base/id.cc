// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "base/id.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

namespace tinderbox::base {
namespace {

std::vector<unsigned char> RandomBytes(std::size_t count) {
  std::vector<unsigned char> bytes(count);
  std::size_t done = 0;
  while (done < count) {
    // getrandom(2) without flags fails only by EINTR once the pool is up.
    const ssize_t n = getrandom(bytes.data() + done, count - done, 0);
    if (n > 0) done += static_cast<std::size_t>(n);
  }
  return bytes;
}

}  // namespace

std::string NewSandboxId() {
  constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::string id = "i";
  while (id.size() < 21) {
    for (unsigned char byte : RandomBytes(32)) {
      // 252 is the largest multiple of 36 in a byte: beyond it the modulus would be biased.
      if (byte < 252 && id.size() < 21) id += kAlphabet[byte % kAlphabet.size()];
    }
  }
  return id;
}

std::string RandomHex(std::size_t bytes) {
  std::string hex;
  for (unsigned char byte : RandomBytes(bytes)) hex += fmt::format("{:02x}", byte);
  return hex;
}

std::string NewUuid() {
  auto b = RandomBytes(16);
  b[6] = static_cast<unsigned char>((b[6] & 0x0f) | 0x40);
  b[8] = static_cast<unsigned char>((b[8] & 0x3f) | 0x80);
  std::string uuid;
  for (std::size_t i = 0; i < b.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) uuid += '-';
    uuid += fmt::format("{:02x}", b[i]);
  }
  return uuid;
}

bool IsValidVmId(std::string_view id) {
  if (id.empty() || id.size() > 64 || id.front() == '-') return false;
  return std::ranges::all_of(
      id, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
}

}  // namespace tinderbox::base
