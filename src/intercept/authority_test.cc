// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "intercept/authority.h"

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <filesystem>

#include "sys/file.h"

namespace tinderbox::intercept {
namespace {

using base::Code;

class AuthorityTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "tb-ca-XXXXXX";
    ASSERT_NE(mkdtemp(dir_.data()), nullptr);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }
  std::string Path() const { return dir_ + "/intercept.pem"; }

  std::string dir_;
};

X509* LeafOf(const SslContextPtr& context) { return SSL_CTX_get0_certificate(context.get()); }

// As a client verifies it that trusts `authority` alone.
int Verify(X509* leaf, const std::string& authority, const std::string& name) {
  const BioPtr bio(BIO_new_mem_buf(authority.data(), static_cast<int>(authority.size())));
  const X509Ptr root(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  X509_STORE* store = X509_STORE_new();
  X509_STORE_add_cert(store, root.get());
  X509_STORE_CTX* context = X509_STORE_CTX_new();
  X509_STORE_CTX_init(context, store, leaf, nullptr);
  X509_VERIFY_PARAM* param = X509_STORE_CTX_get0_param(context);
  X509_VERIFY_PARAM_set1_host(param, name.c_str(), name.size());
  X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
  X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
  X509_verify_cert(context);
  const int error = X509_STORE_CTX_get_error(context);
  X509_STORE_CTX_free(context);
  X509_STORE_free(store);
  return error;
}

TEST_F(AuthorityTest, ItsLeavesVerifyForTheirNameAlone) {
  const auto authority = Authority::Open(Path()).value();
  for (const std::string& name :
       {std::string("api.example.com"), std::string("x"),
        std::string(60, 'a') + "." + std::string(60, 'b') + ".example.com"}) {
    const auto context = authority->ServerContext(name);
    ASSERT_TRUE(context.has_value()) << context.error().ToString();
    EXPECT_EQ(Verify(LeafOf(*context), authority->certificate(), name), X509_V_OK) << name;
    EXPECT_EQ(Verify(LeafOf(*context), authority->certificate(), "other.example.com"),
              X509_V_ERR_HOSTNAME_MISMATCH);
  }
  const auto other = Authority::Open(dir_ + "/other.pem").value();
  EXPECT_NE(Verify(LeafOf(*authority->ServerContext("x")), other->certificate(), "x"), X509_V_OK);
}

TEST_F(AuthorityTest, IsTheSameAfterARestartAndItsKeyIsPrivate) {
  const std::string first = Authority::Open(Path()).value()->certificate();
  EXPECT_EQ(sys::Stat(Path())->st_mode & 07777, 0600u);
  const auto again = Authority::Open(Path()).value();
  EXPECT_EQ(again->certificate(), first);
  EXPECT_EQ(Verify(LeafOf(*again->ServerContext("a.example")), first, "a.example"), X509_V_OK);
  EXPECT_FALSE(first.contains("PRIVATE"));
}

TEST_F(AuthorityTest, WhatIsDamagedOrExposedIsRefused) {
  const auto kept = Authority::Open(Path()).value();
  const std::string whole = sys::ReadFile(Path()).value();
  ASSERT_EQ(::chmod(Path().c_str(), 0644), 0);
  EXPECT_EQ(Authority::Open(Path()).error().code(), Code::kFailedPrecondition);
  Authority::Open(dir_ + "/other.pem").value();
  const std::string other = sys::ReadFile(dir_ + "/other.pem").value();
  const std::size_t at = whole.find("-----BEGIN CERT");
  for (const std::string& text :
       {std::string(), std::string("nonsense"), whole.substr(0, whole.size() / 2),
        whole.substr(0, at) + other.substr(other.find("-----BEGIN CERT"))}) {
    ASSERT_TRUE(sys::WriteFileAtomic(Path(), text, 0600).has_value());
    const auto opened = Authority::Open(Path());
    ASSERT_FALSE(opened.has_value());
    EXPECT_EQ(opened.error().code(), Code::kDataLoss);
    EXPECT_FALSE(opened.error().remedy().empty());
  }
}

TEST_F(AuthorityTest, LeavesAreKeptButNotWithoutEnd) {
  const auto authority = Authority::Open(Path()).value();
  const auto first = authority->ServerContext("first.example");
  EXPECT_EQ(authority->ServerContext("first.example")->get(), first->get());
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(authority->ServerContext("n" + std::to_string(i)).has_value());
  }
  // `first` holds the old one, so that a new one cannot stand at the same address.
  EXPECT_NE(authority->ServerContext("first.example")->get(), first->get());
}

}  // namespace
}  // namespace tinderbox::intercept
