// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/error.h"

// Standard base64 (RFC 4648 §4) as JSON carries the bytes of a process's streams: quick, since
// every byte of every output goes through it.
namespace tinderbox::base {

// With padding.
std::string EncodeBase64(std::string_view bytes);
// Appends to `out` instead.
void AppendBase64(std::string& out, std::string_view bytes);

// Appends the bytes to `out`. Padding may be absent, as protobuf's JSON allows; both the standard
// and the URL alphabet are taken. Anything else is kInvalidArgument, with `out` as it was.
Result<> AppendFromBase64(std::string& out, std::string_view text);
Result<std::string> DecodeBase64(std::string_view text);

}  // namespace tinderbox::base
