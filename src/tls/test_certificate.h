// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <openssl/ssl.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "net/test_reader.h"
#include "sys/fd.h"
#include "tls/certificate.h"
#include "tls/engine.h"

// For the tests of this component and of those above it.
namespace tinderbox::tls {

// Makes a self-signed certificate for `name` with a key of its own and puts both into `directory`
// as <stem>.pem and <stem>.key.
struct MadeCertificate {
  std::string name = "*.box.test";
  std::string stem = "server";
  std::chrono::seconds begin{-3600};  // from now
  std::chrono::seconds end{86400};
  std::string passphrase;  // of the key; empty: none
};
CertificateFiles MakeCertificate(const std::string& directory, const MadeCertificate& options = {});

// A blocking connection to a port of 127.0.0.1 with TLS, or the guest's side of one; no certificate
// is checked. Every receive has a time limit of 10 s.
class TlsSocket final : public net::TestReader {
 public:
  struct Options {
    std::string alpn = "\x08http/1.1";  // as on the wire
    int max_version = 0;                // 0: the newest
  };
  static TlsSocket Connect(std::uint16_t port) { return Connect(port, Options{}); }
  static TlsSocket Connect(std::uint16_t port, const Options& options);
  // The server's side of an accepted connection.
  static TlsSocket Accept(sys::UniqueFd fd, SSL_CTX* context);

  bool ok() const { return ok_; }  // the handshake went well
  std::string protocol() const;    // by ALPN
  std::string version() const;
  std::string server_name() const;  // SNI, on the server's side
  std::string subject() const;      // of the other side's certificate

  bool Send(std::string_view data);
  // Demands new keys of the other side, and sends new ones (TLS 1.3).
  bool RenewKeys() { return SSL_key_update(ssl_.get(), SSL_KEY_UPDATE_REQUESTED) == 1; }
  // True where the other side said that it would send no more, and did not just hang up.
  bool ended_in_order() const;
  void EndSending() { SSL_shutdown(ssl_.get()); }
  int fd() const { return fd_.get(); }
  void Close() {
    SSL_shutdown(ssl_.get());
    fd_.Reset();
  }

 private:
  TlsSocket(sys::UniqueFd fd, Ssl ssl);
  bool ReadMore() override;
  sys::UniqueFd fd_;
  Ssl ssl_;
  bool ok_ = false;
};

}  // namespace tinderbox::tls
