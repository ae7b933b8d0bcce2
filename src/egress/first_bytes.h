// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

// What a connection's first bytes say about the host that the client wants. Pure functions over
// hostile bytes.
namespace tinderbox::egress {

// More than this is read of no connection before it is decided upon: a ClientHello with its
// certificates' wishes and key shares has 0.5 to 2 KiB, a request's head less than that.
inline constexpr std::size_t kMostFirstBytes = 16 << 10;

enum class Said {
  kMore,     // not enough bytes yet
  kName,     // `name` is a normal host name
  kNothing,  // it is of this protocol, but names no host, or an address
  kForeign,  // not of this protocol, or broken
};

struct FirstWords {
  Said said = Said::kMore;
  std::string name;
};

// The server name (RFC 6066 §3) of a TLS ClientHello (RFC 8446 §4.1.2), which may come in several
// records. The name of an encrypted ClientHello stays hidden: what counts is the outer one, whose
// server it is that will be dialled.
FirstWords ReadClientHello(std::string_view bytes);

// The host of an HTTP/1 request: of its one Host field, which the target, where it names a host
// itself, must not contradict (RFC 9112 §3.2).
FirstWords ReadHttpHost(std::string_view bytes);

}  // namespace tinderbox::egress
