// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string_view>

#include "net/stream.h"
#include "tls/engine.h"

namespace tinderbox::tls {

// Our side of connections to servers whose certificates nobody could check: those in guests. It
// hides and proves nothing; it is what such a server happens to speak. Offers HTTP/1.1 alone.
class Client {
 public:
  Client();

  // An engine that has not shaken hands yet. `name` goes to the server as SNI unless it is empty or
  // an address. Null where OpenSSL cannot make one.
  std::unique_ptr<net::TlsEngine> Connect(int fd, std::string_view name) const;

 private:
  SslCtx context_;
};

}  // namespace tinderbox::tls
