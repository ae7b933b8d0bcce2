// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/ssl.h>

#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "intercept/openssl.h"

namespace tinderbox::intercept {

// The certificate authority of this installation: guests whose requests are changed on their way
// out trust it, and nobody else does. Its key never leaves the host.
class Authority {
 public:
  // Takes key and certificate from the file at `path`, which is ours alone (0600), or makes both
  // where there is none: whole or not at all. kDataLoss for a file that holds something else,
  // kFailedPrecondition for one that others may read.
  static base::Result<std::unique_ptr<Authority>> Open(const std::string& path);

  // Its certificate, PEM.
  const std::string& certificate() const { return certificate_; }

  // The server's side of TLS for `name`, with a certificate that was made for it: TLS 1.2 and 1.3,
  // HTTP/1.1 alone by ALPN. Some are kept and made anew long before they expire. Belongs to one
  // thread; what is returned may outlive the authority's keeping of it.
  base::Result<SslContextPtr> ServerContext(const std::string& name);

 private:
  struct Leaf {
    std::string name;
    SslContextPtr context;
    std::int64_t made = 0;  // seconds since the epoch
  };

  Authority() = default;
  base::Result<X509Ptr> MintLeaf(const std::string& name, std::int64_t now);

  PkeyPtr key_;
  X509Ptr issuer_;
  std::string certificate_;
  PkeyPtr leaf_key_;        // of all leaves of this process
  std::list<Leaf> leaves_;  // the one used last in front
  std::map<std::string, std::list<Leaf>::iterator> by_name_;
};

}  // namespace tinderbox::intercept
