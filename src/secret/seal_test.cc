// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "secret/seal.h"

#include <gtest/gtest.h>

namespace tinderbox::secret {
namespace {

Key SomeKey(unsigned char fill) {
  Key key;
  for (std::size_t i = 0; i < Key::kBytes; ++i) key.data()[i] = fill;
  return key;
}

TEST(Seal, OpensWithTheSameKeyAndContextAlone) {
  const Key key = SomeKey(1);
  for (const std::string& value : {std::string("x"), std::string(16384, 'v'), std::string()}) {
    Sealed sealed = Seal(key, "who", value).value();
    EXPECT_EQ(sealed.nonce.size(), 12u);
    EXPECT_EQ(sealed.ciphertext.size(), value.size() + 16);
    const auto opened = Open(key, "who", sealed);
    ASSERT_TRUE(opened.has_value());
    EXPECT_EQ(opened->Reveal(), value);
    EXPECT_FALSE(Open(key, "whom", sealed).has_value());
    EXPECT_FALSE(Open(SomeKey(2), "who", sealed).has_value());
  }
}

TEST(Seal, EveryBitCounts) {
  const Key key = SomeKey(1);
  const Sealed sealed = Seal(key, "who", "a value").value();
  EXPECT_FALSE(sealed.ciphertext.contains("value"));
  for (std::size_t i = 0; i < sealed.ciphertext.size(); ++i) {
    Sealed bent = sealed;
    bent.ciphertext[i] = static_cast<char>(bent.ciphertext[i] ^ 1);
    EXPECT_FALSE(Open(key, "who", bent).has_value()) << i;
  }
  for (std::size_t i = 0; i < sealed.nonce.size(); ++i) {
    Sealed bent = sealed;
    bent.nonce[i] = static_cast<char>(bent.nonce[i] ^ 0x80);
    EXPECT_FALSE(Open(key, "who", bent).has_value()) << i;
  }
  for (std::size_t size = 0; size < sealed.ciphertext.size(); ++size) {
    Sealed cut = sealed;
    cut.ciphertext.resize(size);
    EXPECT_FALSE(Open(key, "who", cut).has_value()) << size;
  }
}

TEST(Seal, NoNonceTwice) {
  const Key key = SomeKey(1);
  const Sealed a = Seal(key, "who", "a value").value();
  const Sealed b = Seal(key, "who", "a value").value();
  EXPECT_NE(a.nonce, b.nonce);
  EXPECT_NE(a.ciphertext, b.ciphertext);
}

TEST(SecretText, IsGoneWhereItWasMovedFrom) {
  std::string short_text = "short";  // stands in the object itself
  SecretText a(std::move(short_text));
  const SecretText b(std::move(a));
  EXPECT_EQ(b.Reveal(), "short");
  EXPECT_TRUE(a.Reveal().empty());  // NOLINT(bugprone-use-after-move): that is the question
  std::string text = "to be wiped, longer than what stands in the object itself";
  const char* const at = text.data();
  const std::size_t size = text.capacity();
  Wipe(text);
  EXPECT_TRUE(text.empty());
  EXPECT_EQ(std::string(at, size), std::string(size, '\0'));
}

}  // namespace
}  // namespace tinderbox::secret
