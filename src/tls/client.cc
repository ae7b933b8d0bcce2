// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "tls/client.h"

#include <arpa/inet.h>

#include <string>
#include <utility>

namespace tinderbox::tls {
namespace {

constexpr unsigned char kHttp11[] = "\x08http/1.1";

bool IsAddress(const std::string& name) {
  in6_addr address{};
  return inet_pton(AF_INET, name.c_str(), &address) == 1 ||
         inet_pton(AF_INET6, name.c_str(), &address) == 1;
}

}  // namespace

Client::Client() : context_(MakeContext(TLS_client_method())) {
  if (!context_) return;
  SSL_CTX_set_verify(context_.get(), SSL_VERIFY_NONE, nullptr);
  // Nothing is believed, so weak keys are no weaker than strong ones.
  SSL_CTX_set_security_level(context_.get(), 0);
  SSL_CTX_set_alpn_protos(context_.get(), kHttp11, sizeof(kHttp11) - 1);
}

std::unique_ptr<net::TlsEngine> Client::Connect(int fd, std::string_view name) const {
  Ssl ssl(context_ ? SSL_new(context_.get()) : nullptr);
  if (!ssl) return nullptr;
  SSL_set_connect_state(ssl.get());
  const std::string text(name);
  if (!text.empty() && !IsAddress(text)) SSL_set_tlsext_host_name(ssl.get(), text.c_str());
  return std::make_unique<Engine>(std::move(ssl), fd);
}

}  // namespace tinderbox::tls
