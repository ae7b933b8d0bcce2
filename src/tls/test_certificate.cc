// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "tls/test_certificate.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <cstdio>
#include <utility>

namespace tinderbox::tls {
namespace {

void SetExtension(X509* certificate, int nid, const std::string& value) {
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, nid, value.c_str());
  ASSERT_NE(extension, nullptr);
  X509_add_ext(certificate, extension, -1);
  X509_EXTENSION_free(extension);
}

// For both sides of the tests.
SslCtx PlainContext(const SSL_METHOD* method) {
  SslCtx context(SSL_CTX_new(method));
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
  return context;
}

}  // namespace

CertificateFiles MakeCertificate(const std::string& directory, const MadeCertificate& options) {
  EVP_PKEY* key = EVP_EC_gen("P-256");
  X509* certificate = X509_new();
  X509_set_version(certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate), options.begin.count());
  X509_gmtime_adj(X509_getm_notAfter(certificate), options.end.count());
  X509_NAME* name = X509_get_subject_name(certificate);
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(options.stem.c_str()), -1, -1,
                             0);
  X509_set_issuer_name(certificate, name);
  X509_set_pubkey(certificate, key);
  SetExtension(certificate, NID_subject_alt_name, "DNS:" + options.name);
  EXPECT_GT(X509_sign(certificate, key, EVP_sha256()), 0);
  CertificateFiles files{directory + "/" + options.stem + ".pem",
                         directory + "/" + options.stem + ".key"};
  for (const bool is_key : {false, true}) {
    std::FILE* file = std::fopen((is_key ? files.key : files.certificate).c_str(), "we");
    if (file == nullptr) {
      ADD_FAILURE() << directory;
      break;
    }
    if (is_key) {
      const std::string& words = options.passphrase;
      PEM_write_PrivateKey(file, key, words.empty() ? nullptr : EVP_aes_128_cbc(),
                           reinterpret_cast<const unsigned char*>(words.data()),
                           static_cast<int>(words.size()), nullptr, nullptr);
    } else {
      PEM_write_X509(file, certificate);
    }
    std::fclose(file);
  }
  X509_free(certificate);
  EVP_PKEY_free(key);
  return files;
}

TlsSocket::TlsSocket(sys::UniqueFd fd, Ssl ssl) : fd_(std::move(fd)), ssl_(std::move(ssl)) {
  const timeval limit{10, 0};
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  SSL_set_fd(ssl_.get(), fd_.get());
}

TlsSocket TlsSocket::Connect(std::uint16_t port, const Options& options) {
  sys::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  const SslCtx context = PlainContext(TLS_client_method());
  if (options.max_version != 0) {
    // Below 1.2 a client needs more than a wish.
    SSL_CTX_set_min_proto_version(context.get(), 0);
    SSL_CTX_set_max_proto_version(context.get(), options.max_version);
    SSL_CTX_set_security_level(context.get(), 0);
  }
  Ssl ssl(SSL_new(context.get()));
  if (!options.alpn.empty()) {
    SSL_set_alpn_protos(ssl.get(), reinterpret_cast<const unsigned char*>(options.alpn.data()),
                        static_cast<unsigned>(options.alpn.size()));
  }
  TlsSocket socket(std::move(fd), std::move(ssl));
  ERR_clear_error();
  socket.ok_ = SSL_connect(socket.ssl_.get()) == 1;
  return socket;
}

TlsSocket TlsSocket::Accept(sys::UniqueFd fd, SSL_CTX* context) {
  TlsSocket socket(std::move(fd), Ssl(SSL_new(context)));
  ERR_clear_error();
  socket.ok_ = SSL_accept(socket.ssl_.get()) == 1;
  return socket;
}

std::string TlsSocket::protocol() const {
  const unsigned char* chosen = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &chosen, &size);
  return {reinterpret_cast<const char*>(chosen), size};
}

std::string TlsSocket::version() const { return SSL_get_version(ssl_.get()); }

std::string TlsSocket::server_name() const {
  const char* name = SSL_get_servername(ssl_.get(), TLSEXT_NAMETYPE_host_name);
  return name == nullptr ? "" : name;
}

std::string TlsSocket::subject() const {
  X509* certificate = SSL_get0_peer_certificate(ssl_.get());
  if (certificate == nullptr) return "";
  char text[256] = "";
  X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, text, sizeof(text));
  return text;
}

bool TlsSocket::Send(std::string_view data) {
  while (ok_ && !data.empty()) {
    ERR_clear_error();
    std::size_t n = 0;
    if (SSL_write_ex(ssl_.get(), data.data(), data.size(), &n) != 1) return false;
    data.remove_prefix(n);
  }
  return ok_;
}

bool TlsSocket::ReadMore() {
  char chunk[65536];
  std::size_t n = 0;
  ERR_clear_error();
  if (!ok_ || SSL_read_ex(ssl_.get(), chunk, sizeof(chunk), &n) != 1) return false;
  seen_.append(chunk, n);
  return true;
}

bool TlsSocket::ended_in_order() const {
  return (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) != 0;
}

}  // namespace tinderbox::tls
