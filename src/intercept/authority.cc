// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "intercept/authority.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <utility>

#include "base/id.h"
#include "sys/file.h"

namespace tinderbox::intercept {
namespace {

using base::Code;
using base::Result;

constexpr std::int64_t kDay = 24 * 3600;
constexpr std::int64_t kAuthorityLife = 20 * 365 * kDay;
constexpr std::int64_t kLeafLife = 7 * kDay;
// For guests whose clock is behind.
constexpr std::int64_t kBackdated = kDay;
constexpr std::size_t kMostLeaves = 256;
constexpr std::size_t kMostFile = 16 << 10;
constexpr std::size_t kMostCommonName = 64;  // RFC 5280's bound

std::unexpected<base::Error> Failed(std::string_view what) {
  ERR_clear_error();
  return base::Fail(Code::kInternal, fmt::format("{}: OpenSSL refuses", what));
}

PkeyPtr NewKey() { return PkeyPtr(EVP_EC_gen("P-256")); }

bool SetName(X509_NAME* name, std::string_view common) {
  return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                    reinterpret_cast<const unsigned char*>(common.data()),
                                    static_cast<int>(common.size()), -1, 0) == 1;
}

bool AddExtension(X509* certificate, X509* issuer, int kind, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value.c_str());
  const bool added = extension != nullptr && X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return added;
}

// Version, a serial number that was never used, times and key.
bool Begin(X509* certificate, EVP_PKEY* key, std::int64_t from, std::int64_t to) {
  unsigned char serial[16];
  if (RAND_bytes(serial, sizeof(serial)) != 1) return false;
  serial[0] = static_cast<unsigned char>((serial[0] & 0x7f) | 0x40);
  BIGNUM* number = BN_bin2bn(serial, sizeof(serial), nullptr);
  const bool numbered = number != nullptr &&
                        BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nullptr;
  BN_free(number);
  return numbered && X509_set_version(certificate, X509_VERSION_3) == 1 &&
         ASN1_TIME_set(X509_getm_notBefore(certificate), from) != nullptr &&
         ASN1_TIME_set(X509_getm_notAfter(certificate), to) != nullptr &&
         X509_set_pubkey(certificate, key) == 1;
}

Result<X509Ptr> MakeAuthority(EVP_PKEY* key) {
  X509Ptr made(X509_new());
  const std::int64_t now = std::time(nullptr);
  X509* const cert = made.get();
  const std::string name = fmt::format("Tinderbox {}", base::RandomHex(4));
  const bool good = cert != nullptr && Begin(cert, key, now - kBackdated, now + kAuthorityLife) &&
                    SetName(X509_get_subject_name(cert), name) &&
                    X509_set_issuer_name(cert, X509_get_subject_name(cert)) == 1 &&
                    AddExtension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
                    AddExtension(cert, cert, NID_key_usage, "critical,keyCertSign") &&
                    AddExtension(cert, cert, NID_subject_key_identifier, "hash") &&
                    X509_sign(cert, key, EVP_sha256()) != 0;
  if (!good) return Failed("make the certificate authority");
  return made;
}

std::string Taken(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

Result<std::string> Pem(X509* certificate) {
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (!bio || PEM_write_bio_X509(bio.get(), certificate) != 1) {
    return Failed("write a certificate");
  }
  return Taken(bio.get());
}

// The key in front, its certificate behind it.
Result<> Write(const std::string& path, EVP_PKEY* key, X509* certificate) {
  const BioPtr bio(BIO_new(BIO_s_secmem()));
  if (!bio ||
      PEM_write_bio_PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1 ||
      PEM_write_bio_X509(bio.get(), certificate) != 1) {
    return Failed("write the certificate authority");
  }
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  TRY_CTX(sys::WriteFileAtomic(path, {data, static_cast<std::size_t>(size)}, 0600),
          "keep the certificate authority");
  return {};
}

std::unexpected<base::Error> Unusable(const std::string& path, Code code, std::string_view why) {
  return std::unexpected(
      base::Error(code, fmt::format("take the certificate authority out of '{}': {}", path, why))
          .WithRemedy(fmt::format("Put the right file back, or remove it: a new one is made at the "
                                  "next start, which sandboxes that are there do not trust.")));
}

}  // namespace

Result<std::unique_ptr<Authority>> Authority::Open(const std::string& path) {
  std::unique_ptr<Authority> authority(new Authority());
  const std::optional<sys::UniqueFd> fd = TRY(sys::OpenIfExists(path, O_RDONLY | O_NOFOLLOW));
  if (!fd) {
    authority->key_ = NewKey();
    if (!authority->key_) return Failed("make the certificate authority's key");
    authority->issuer_ = TRY(MakeAuthority(authority->key_.get()));
    TRY(Write(path, authority->key_.get(), authority->issuer_.get()));
  } else {
    struct stat info{};
    if (::fstat(fd->get(), &info) != 0) {
      return base::FailErrno(errno, fmt::format("look at '{}'", path));
    }
    if (!S_ISREG(info.st_mode) || info.st_uid != ::geteuid() || (info.st_mode & 077) != 0) {
      return Unusable(path, Code::kFailedPrecondition, "others may read it");
    }
    std::string text = TRY(sys::ReadAll(*fd, kMostFile));
    const BioPtr bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
    authority->key_.reset(PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr));
    authority->issuer_.reset(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
    OPENSSL_cleanse(text.data(), text.size());
    ERR_clear_error();
    if (!authority->key_ || !authority->issuer_ ||
        X509_check_private_key(authority->issuer_.get(), authority->key_.get()) != 1 ||
        X509_check_ca(authority->issuer_.get()) != 1) {
      ERR_clear_error();
      return Unusable(path, Code::kDataLoss, "it does not hold a key and its certificate");
    }
  }
  authority->certificate_ = TRY(Pem(authority->issuer_.get()));
  authority->leaf_key_ = NewKey();
  if (!authority->leaf_key_) return Failed("make a key");
  return authority;
}

Result<X509Ptr> Authority::MintLeaf(const std::string& name, std::int64_t now) {
  X509Ptr made(X509_new());
  X509* const cert = made.get();
  X509* const issuer = issuer_.get();
  const bool short_name = name.size() <= kMostCommonName;
  // Without a subject, the other name has to be critical (RFC 5280 §4.2.1.6).
  const std::string other = fmt::format("{}DNS:{}", short_name ? "" : "critical,", name);
  const bool good = cert != nullptr &&
                    Begin(cert, leaf_key_.get(), now - kBackdated, now + kLeafLife) &&
                    (!short_name || SetName(X509_get_subject_name(cert), name)) &&
                    X509_set_issuer_name(cert, X509_get_subject_name(issuer)) == 1 &&
                    AddExtension(cert, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
                    AddExtension(cert, issuer, NID_key_usage, "critical,digitalSignature") &&
                    AddExtension(cert, issuer, NID_ext_key_usage, "serverAuth") &&
                    AddExtension(cert, issuer, NID_subject_key_identifier, "hash") &&
                    AddExtension(cert, issuer, NID_authority_key_identifier, "keyid") &&
                    AddExtension(cert, issuer, NID_subject_alt_name, other) &&
                    X509_sign(cert, key_.get(), EVP_sha256()) != 0;
  if (!good) return Failed(fmt::format("make a certificate for '{}'", name));
  return made;
}

namespace {

// Of what the client offers, HTTP/1.1 is what we understand; a client that wants another protocol
// alone is told so by an alert.
int ChooseProtocol(SSL*, const unsigned char** out, unsigned char* out_size,
                   const unsigned char* offered, unsigned int size, void*) {
  static constexpr unsigned char kHttp[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_size, kHttp, sizeof(kHttp), offered, size) !=
      OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

}  // namespace

Result<SslContextPtr> Authority::ServerContext(const std::string& name) {
  const std::int64_t now = std::time(nullptr);
  if (const auto found = by_name_.find(name); found != by_name_.end()) {
    leaves_.splice(leaves_.begin(), leaves_, found->second);
    const std::int64_t age = now - leaves_.front().made;
    if (age >= 0 && age < kLeafLife / 2) {
      SSL_CTX_up_ref(leaves_.front().context.get());
      return SslContextPtr(leaves_.front().context.get());
    }
    by_name_.erase(found);
    leaves_.pop_front();
  }
  const X509Ptr certificate = TRY(MintLeaf(name, now));
  SslContextPtr context(SSL_CTX_new(TLS_server_method()));
  if (!context || SSL_CTX_use_certificate(context.get(), certificate.get()) != 1 ||
      SSL_CTX_use_PrivateKey(context.get(), leaf_key_.get()) != 1 ||
      SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) != 1) {
    return Failed(fmt::format("serve TLS for '{}'", name));
  }
  // No state between connections: nothing to keep, and no renegotiation within one.
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_alpn_select_cb(context.get(), ChooseProtocol, nullptr);
  SSL_CTX_up_ref(context.get());
  leaves_.push_front({.name = name, .context = SslContextPtr(context.get()), .made = now});
  by_name_[name] = leaves_.begin();
  if (leaves_.size() > kMostLeaves) {
    by_name_.erase(leaves_.back().name);
    leaves_.pop_back();
  }
  return context;
}

}  // namespace tinderbox::intercept
