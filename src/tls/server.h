// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/error.h"
#include "net/stream.h"
#include "tls/certificate.h"

namespace tinderbox::tls {

// Our side of accepted connections. A renewed certificate counts from the first connection on that
// comes `look_every` after it was put in place; one that is no good, or half in place, is passed
// over (the log says so) as long as it is, and the one before goes on to serve. Belongs to the
// loop's thread.
class Server {
 public:
  // The errors are LoadCertificate's.
  static base::Result<std::unique_ptr<Server>> Open(
      CertificateFiles files, std::chrono::milliseconds look_every = std::chrono::seconds(10));

  // For one accepted connection, whose descriptor must outlive it. Null where memory is short.
  std::unique_ptr<net::TlsEngine> Accept(int fd);

 private:
  using Clock = std::chrono::steady_clock;

  Server(CertificateFiles files, std::chrono::milliseconds look_every);
  // What changes when either file does.
  std::string Seen() const;
  void LookForRenewal();

  const CertificateFiles files_;
  const std::chrono::milliseconds look_every_;
  Certificate certificate_;
  std::string seen_;
  Clock::time_point looked_;
};

}  // namespace tinderbox::tls
