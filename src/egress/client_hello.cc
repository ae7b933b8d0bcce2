// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <optional>

#include "egress/domain_pattern.h"
#include "egress/first_bytes.h"

namespace tinderbox::egress {
namespace {

constexpr std::uint8_t kHandshake = 22;
constexpr std::uint8_t kClientHello = 1;
constexpr std::uint16_t kServerName = 0;
constexpr std::uint8_t kHostName = 0;
constexpr std::size_t kRecordHead = 5;
constexpr std::size_t kLongestRecord = 1 << 14;

// Big-endian numbers and counted fields. Once it has run dry, everything it gives is empty.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  std::size_t Number(std::size_t width) {
    const std::string_view field = Bytes(width);
    std::size_t number = 0;
    for (const char byte : field) number = number << 8 | static_cast<std::uint8_t>(byte);
    return number;
  }
  std::string_view Bytes(std::size_t count) {
    if (count > bytes_.size()) {
      dry_ = true;
      bytes_ = {};
      return {};
    }
    const std::string_view taken = bytes_.substr(0, count);
    bytes_.remove_prefix(count);
    return taken;
  }
  // A field whose length stands in front of it, in `width` bytes.
  std::string_view Counted(std::size_t width) { return Bytes(Number(width)); }

  bool dry() const { return dry_; }
  bool empty() const { return bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool dry_ = false;
};

// The handshake's bytes out of the records that carry them. kNothing: all there is so far.
struct Handshake {
  std::string bytes;
  bool foreign = false;
};

Handshake OutOfRecords(std::string_view bytes) {
  Handshake handshake;
  while (!bytes.empty()) {
    if (static_cast<std::uint8_t>(bytes[0]) != kHandshake ||
        (bytes.size() > 1 && static_cast<std::uint8_t>(bytes[1]) != 3)) {
      handshake.foreign = true;
      break;
    }
    if (bytes.size() < kRecordHead) break;
    Reader head(bytes.substr(3, 2));
    const std::size_t length = head.Number(2);
    if (length == 0 || length > kLongestRecord) {
      handshake.foreign = true;
      break;
    }
    bytes.remove_prefix(kRecordHead);
    handshake.bytes += bytes.substr(0, length);
    bytes.remove_prefix(std::min(length, bytes.size()));
  }
  return handshake;
}

// Of the server_name extension's content. One name, as every client sends.
FirstWords ReadServerName(std::string_view content) {
  Reader extension(content);
  Reader list(extension.Counted(2));
  const std::size_t type = list.Number(1);
  const std::string_view text = list.Counted(2);
  if (extension.dry() || list.dry() || !extension.empty() || !list.empty() || type != kHostName) {
    return {Said::kForeign, {}};
  }
  auto name = NormalHostName(text);
  if (!name) return {Said::kNothing, {}};
  return {Said::kName, *std::move(name)};
}

FirstWords ReadExtensions(std::string_view bytes) {
  Reader extensions(bytes);
  std::optional<FirstWords> found;
  while (!extensions.empty() && !extensions.dry()) {
    const std::size_t type = extensions.Number(2);
    const std::string_view content = extensions.Counted(2);
    if (extensions.dry()) break;
    if (type != kServerName) continue;
    // Twice the same extension is an error (RFC 8446 §4.2), and another server's first might be
    // our second.
    if (found) return {Said::kForeign, {}};
    found = ReadServerName(content);
  }
  if (extensions.dry()) return {Said::kForeign, {}};
  return found.value_or(FirstWords{Said::kNothing, {}});
}

}  // namespace

FirstWords ReadClientHello(std::string_view bytes) {
  const Handshake handshake = OutOfRecords(bytes);
  constexpr std::size_t kHead = 4;
  if (!handshake.bytes.empty() && static_cast<std::uint8_t>(handshake.bytes[0]) != kClientHello) {
    return {Said::kForeign, {}};
  }
  if (handshake.bytes.size() < kHead) {
    return {handshake.foreign ? Said::kForeign : Said::kMore, {}};
  }
  Reader head(std::string_view(handshake.bytes).substr(1, 3));
  const std::size_t length = head.Number(3);
  if (length > kMostFirstBytes) return {Said::kForeign, {}};
  if (handshake.bytes.size() < kHead + length) {
    return {handshake.foreign ? Said::kForeign : Said::kMore, {}};
  }
  Reader hello(std::string_view(handshake.bytes).substr(kHead, length));
  hello.Bytes(2 + 32);  // version, random
  hello.Counted(1);     // session
  hello.Counted(2);     // cipher suites
  hello.Counted(1);     // compression methods
  if (hello.dry()) return {Said::kForeign, {}};
  if (hello.empty()) return {Said::kNothing, {}};
  const std::string_view extensions = hello.Counted(2);
  if (hello.dry() || !hello.empty()) return {Said::kForeign, {}};
  return ReadExtensions(extensions);
}

}  // namespace tinderbox::egress
