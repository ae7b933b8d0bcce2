// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "secret/secret_text.h"

#include <openssl/crypto.h>

#include <utility>

namespace tinderbox::secret {

void Wipe(std::string& text) {
  // The whole buffer: a short text that was moved from leaves its bytes behind the end.
  text.resize(text.capacity());
  OPENSSL_cleanse(text.data(), text.size());
  text.clear();
}

SecretText& SecretText::operator=(SecretText&& other) noexcept {
  if (this == &other) return *this;
  Wipe(text_);
  text_ = std::move(other.text_);
  Wipe(other.text_);
  return *this;
}

}  // namespace tinderbox::secret
