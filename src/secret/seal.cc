// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "secret/seal.h"

#include <openssl/evp.h>
#include <sys/random.h>

#include <memory>

namespace tinderbox::secret {
namespace {

using base::Code;

constexpr std::size_t kNonce = 12;
constexpr std::size_t kTag = 16;

struct FreeCipher {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Cipher = std::unique_ptr<EVP_CIPHER_CTX, FreeCipher>;

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* Bytes(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }
int Length(std::string_view text) { return static_cast<int>(text.size()); }

std::string NewNonce() {
  std::string nonce(kNonce, '\0');
  for (std::size_t have = 0; have < kNonce;) {
    const ssize_t n = ::getrandom(nonce.data() + have, kNonce - have, 0);
    if (n > 0) have += static_cast<std::size_t>(n);
  }
  return nonce;
}

}  // namespace

base::Result<Sealed> Seal(const Key& key, std::string_view context, std::string_view value) {
  Sealed sealed{.nonce = NewNonce(), .ciphertext = std::string(value.size() + kTag, '\0')};
  const Cipher cipher(EVP_CIPHER_CTX_new());
  unsigned char* const out = Bytes(sealed.ciphertext);
  int done = 0;
  int last = 0;
  int ignored = 0;
  if (cipher &&
      EVP_EncryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key.data(),
                         Bytes(std::string_view(sealed.nonce))) == 1 &&
      EVP_EncryptUpdate(cipher.get(), nullptr, &ignored, Bytes(context), Length(context)) == 1 &&
      EVP_EncryptUpdate(cipher.get(), out, &done, Bytes(value), Length(value)) == 1 &&
      EVP_EncryptFinal_ex(cipher.get(), out + done, &last) == 1 &&
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTag, out + value.size()) == 1) {
    return sealed;
  }
  return base::Fail(Code::kInternal, "encrypt a secret's value");
}

std::optional<SecretText> Open(const Key& key, std::string_view context, const Sealed& sealed) {
  if (sealed.nonce.size() != kNonce || sealed.ciphertext.size() < kTag) return std::nullopt;
  const std::string_view body =
      std::string_view(sealed.ciphertext).substr(0, sealed.ciphertext.size() - kTag);
  std::string tag = sealed.ciphertext.substr(body.size());
  std::string value(body.size(), '\0');
  const Cipher cipher(EVP_CIPHER_CTX_new());
  int done = 0;
  int last = 0;
  int ignored = 0;
  const bool opened =
      cipher &&
      EVP_DecryptInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, key.data(),
                         Bytes(std::string_view(sealed.nonce))) == 1 &&
      EVP_DecryptUpdate(cipher.get(), nullptr, &ignored, Bytes(context), Length(context)) == 1 &&
      EVP_DecryptUpdate(cipher.get(), Bytes(value), &done, Bytes(body), Length(body)) == 1 &&
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTag, tag.data()) == 1 &&
      EVP_DecryptFinal_ex(cipher.get(), Bytes(value) + done, &last) == 1;
  SecretText text(std::move(value));
  if (!opened) return std::nullopt;
  return text;
}

}  // namespace tinderbox::secret
