// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>

// Makes the bytes of a TLS ClientHello, right ones and wrong ones.
namespace tinderbox::egress::testing {

inline std::string Number(std::size_t value, std::size_t width) {
  std::string bytes;
  for (std::size_t i = width; i-- > 0;) bytes += static_cast<char>(value >> (8 * i) & 0xff);
  return bytes;
}

inline std::string Counted(const std::string& field, std::size_t width) {
  return Number(field.size(), width) + field;
}

inline std::string Extension(std::size_t type, const std::string& content) {
  return Number(type, 2) + Counted(content, 2);
}

inline std::string ServerName(const std::string& name) {
  return Extension(0, Counted(Number(0, 1) + Counted(name, 2), 2));
}

// The handshake message: no records.
inline std::string Hello(const std::string& extensions) {
  const std::string body = Number(0x0303, 2) + std::string(32, 'r') + Counted("session", 1) +
                           Counted(Number(0x1301, 2), 2) + Counted(Number(0, 1), 1) +
                           Counted(extensions, 2);
  return Number(1, 1) + Counted(body, 3);
}

inline std::string Record(const std::string& fragment) {
  return Number(22, 1) + Number(0x0301, 2) + Counted(fragment, 2);
}

}  // namespace tinderbox::egress::testing
