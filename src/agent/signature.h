// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

// Who may use /files: the holder of the token, or of a URL that the holder signed.
namespace tinderbox::agent {

struct FileAccess {
  std::string_view token;      // the sandbox's
  std::string_view header;     // X-Access-Token; empty where there is none
  std::string_view operation;  // "read" or "write"
  // The literal query values; "" where absent.
  std::string_view path;
  std::string_view username;
  std::string_view signature;
  std::string_view expiration;  // unix seconds, or ""
};

// "v1_" and the unpadded standard base64 of SHA-256 over
// path:operation:username:token[:expiration].
std::string FileSignature(const FileAccess& access);

// kUnauthenticated with the contract's own words where access is refused; `now` in unix seconds.
base::Result<> CheckFileAccess(const FileAccess& access, std::int64_t now);

}  // namespace tinderbox::agent
