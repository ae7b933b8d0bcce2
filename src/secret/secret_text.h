// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace tinderbox::secret {

// Overwrites memory that held a secret, in a way that no optimiser leaves out.
void Wipe(std::string& text);

// A secret's value in the clear: moved, never copied, and wiped when it is no longer needed. It
// has no way into a log line or an error but by Reveal, whose callers are few.
class SecretText {
 public:
  SecretText() = default;
  explicit SecretText(std::string text) : text_(std::move(text)) {}
  SecretText(SecretText&& other) noexcept : text_(std::move(other.text_)) { Wipe(other.text_); }
  SecretText& operator=(SecretText&& other) noexcept;
  SecretText(const SecretText&) = delete;
  SecretText& operator=(const SecretText&) = delete;
  ~SecretText() { Wipe(text_); }

  std::string_view Reveal() const { return text_; }

 private:
  std::string text_;
};

}  // namespace tinderbox::secret
