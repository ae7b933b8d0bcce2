// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "secret/key_file.h"
#include "secret/secret_text.h"

// AES-256-GCM.
namespace tinderbox::secret {

struct Sealed {
  std::string nonce;       // 96 bits, random: never used twice under one key
  std::string ciphertext;  // with the tag of 128 bits behind it
};

// `context` is authenticated with the value and not stored with it: whoever opens has to name it.
base::Result<Sealed> Seal(const Key& key, std::string_view context, std::string_view value);

// No value where key, context or bytes are not those of the seal.
std::optional<SecretText> Open(const Key& key, std::string_view context, const Sealed& sealed);

}  // namespace tinderbox::secret
