// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "tls/certificate.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "net/http_message.h"
#include "sys/file.h"

namespace tinderbox::tls {
namespace {

using base::Code;
using base::Error;
using base::Fail;
using base::Result;

using Bio = std::unique_ptr<BIO, Freed<BIO_free>>;
using X509Ptr = std::unique_ptr<X509, Freed<X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Freed<EVP_PKEY_free>>;

constexpr std::size_t kMaxFile = 1 << 20;
constexpr int kMaxChain = 16;

std::unexpected<Error> Wrong(Code code, std::string message, std::string remedy) {
  return std::unexpected(Error(code, std::move(message)).WithRemedy(std::move(remedy)));
}

Bio Memory(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

Result<std::string> ReadPem(const std::string& path, std::string_view setting) {
  auto text = sys::ReadFile(path, kMaxFile);
  if (text) return text;
  return std::unexpected(
      std::move(text)
          .error()
          .WithContext(fmt::format("read {} '{}'", setting, path))
          .WithRemedy(fmt::format("Set {} to a file that is there and root may read.", setting)));
}

// A daemon has nobody to ask.
int NoPassphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

std::int64_t Seconds(const ASN1_TIME* time) {
  std::tm utc{};
  return ASN1_TIME_to_tm(time, &utc) == 1 ? static_cast<std::int64_t>(timegm(&utc)) : 0;
}

std::string Day(const ASN1_TIME* time) {
  std::tm utc{};
  if (ASN1_TIME_to_tm(time, &utc) != 1) return "an unknown day";
  return fmt::format("{:04}-{:02}-{:02}", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday);
}

std::vector<std::string> NamesOf(X509* certificate) {
  std::vector<std::string> names;
  auto* const all = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(all); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(all, i);
    if (name->type != GEN_DNS) continue;
    names.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                       static_cast<std::size_t>(ASN1_STRING_length(name->d.dNSName)));
  }
  GENERAL_NAMES_free(all);
  return names;
}

Result<> CheckTime(const X509* certificate, const std::string& path) {
  const ASN1_TIME* const begin = X509_get0_notBefore(certificate);
  const ASN1_TIME* const end = X509_get0_notAfter(certificate);
  if (X509_cmp_current_time(end) < 0) {
    return Wrong(Code::kFailedPrecondition,
                 fmt::format("certificate '{}' has expired: it was good until {}", path, Day(end)),
                 "Renew it.");
  }
  if (X509_cmp_current_time(begin) > 0) {
    return Wrong(Code::kFailedPrecondition,
                 fmt::format("certificate '{}' is good from {} on", path, Day(begin)),
                 "Check this host's clock.");
  }
  return {};
}

Result<Key> ReadKey(const std::string& path) {
  const std::string text = TRY(ReadPem(path, "tls_key"));
  bool encrypted = false;
  Key key(PEM_read_bio_PrivateKey(Memory(text).get(), nullptr, NoPassphrase, &encrypted));
  if (key) return key;
  if (encrypted) {
    return Wrong(Code::kInvalidArgument, fmt::format("the key in '{}' is encrypted", path),
                 "Decrypt it: openssl pkey -in FILE -out NEW; keep NEW readable for root alone.");
  }
  return Wrong(Code::kInvalidArgument, fmt::format("'{}' holds no private key in PEM", path),
               "Set tls_key to the key that belongs to tls_certificate.");
}

// The certificate and what follows it go into the context.
Result<> UseChain(SSL_CTX* context, const std::string& path, Certificate& out) {
  const std::string text = TRY(ReadPem(path, "tls_certificate"));
  const Bio bio = Memory(text);
  const X509Ptr leaf(PEM_read_bio_X509_AUX(bio.get(), nullptr, nullptr, nullptr));
  if (!leaf) {
    return Wrong(Code::kInvalidArgument, fmt::format("'{}' holds no certificate in PEM", path),
                 "Set tls_certificate to the certificate, followed by those that signed it.");
  }
  TRY(CheckTime(leaf.get(), path));
  if (SSL_CTX_use_certificate(context, leaf.get()) != 1) {
    return Wrong(Code::kInvalidArgument,
                 fmt::format("certificate '{}' cannot be used: {}", path,
                             ERR_reason_error_string(ERR_peek_last_error())),
                 "Get one with a key of 2048 bits or more, signed with SHA-256.");
  }
  for (int i = 0; i < kMaxChain; ++i) {
    X509Ptr next(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    if (!next || SSL_CTX_add0_chain_cert(context, next.get()) != 1) break;
    (void)next.release();  // the context's now
  }
  out.not_after = Seconds(X509_get0_notAfter(leaf.get()));
  out.names = NamesOf(leaf.get());
  return {};
}

// A client that names protocols and none that we speak is told so (RFC 7301 §3.2); one that names
// none gets HTTP/1.1.
int ChooseProtocol(SSL*, const unsigned char** out, unsigned char* out_size,
                   const unsigned char* offered, unsigned size, void*) {
  static constexpr unsigned char kOurs[] = "\x08http/1.1";
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, kOurs, sizeof(kOurs) - 1, offered, size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

}  // namespace

Result<Certificate> LoadCertificate(const CertificateFiles& files) {
  Certificate out;
  out.context = MakeContext(TLS_server_method());
  if (!out.context) return Fail(Code::kInternal, "OpenSSL makes no context for TLS");
  ERR_clear_error();
  TRY(UseChain(out.context.get(), files.certificate, out));
  const Key key = TRY(ReadKey(files.key));
  // Both are whole by themselves: what can be wrong now is that they are not each other's.
  if (SSL_CTX_use_PrivateKey(out.context.get(), key.get()) != 1 ||
      SSL_CTX_check_private_key(out.context.get()) != 1) {
    return Wrong(Code::kInvalidArgument,
                 fmt::format("the key in '{}' does not belong to the certificate in '{}'",
                             files.key, files.certificate),
                 "Set tls_certificate and tls_key to the two that were made together.");
  }
  SSL_CTX_set_alpn_select_cb(out.context.get(), ChooseProtocol, nullptr);
  return out;
}

bool IsFor(const std::vector<std::string>& names, std::string_view name) {
  return std::ranges::any_of(names, [name](std::string_view known) {
    if (net::EqualsIgnoreCase(known, name)) return true;
    const auto dot = name.find('.');
    return known.starts_with("*.") && dot != name.npos && dot > 0 &&
           net::EqualsIgnoreCase(known.substr(1), name.substr(dot));
  });
}

}  // namespace tinderbox::tls
