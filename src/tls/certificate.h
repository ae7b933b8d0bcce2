// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "tls/engine.h"

namespace tinderbox::tls {

// Where a server's certificate and its key stand: PEM files, the certificate followed by those that
// signed it, its own root apart.
struct CertificateFiles {
  std::string certificate;
  std::string key;
};

// A certificate with its key, good at the time it was loaded.
struct Certificate {
  SslCtx context;                  // for accepting; offers http/1.1 by ALPN, and nothing else
  std::int64_t not_after = 0;      // seconds since the epoch
  std::vector<std::string> names;  // host names it is for, "*.box.example"
};

// Reads both files; each may have 1 MiB. The error names the file and what is wrong with it: it
// cannot be read (with its errno), is no PEM, its key is encrypted, the two do not belong together
// (kInvalidArgument), its time is over or has not begun (kFailedPrecondition).
base::Result<Certificate> LoadCertificate(const CertificateFiles& files);

// Whether one of `names` is for the host `name`, by a wildcard for its first label too.
bool IsFor(const std::vector<std::string>& names, std::string_view name);

}  // namespace tinderbox::tls
