// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/trust.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "sys/file.h"

namespace tinderbox::agent {
namespace {

constexpr char kCertificate[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
constexpr char kBundle[] = "/etc/ssl/certs/ca-certificates.crt";

class TrustTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = testing::TempDir() + "tb-trust-XXXXXX";
    ASSERT_NE(mkdtemp(root_.data()), nullptr);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  std::string Read(const std::string& path) { return sys::ReadFile(root_ + path).value_or("none"); }

  std::string root_;
  std::map<std::string, std::string> env_;
};

TEST_F(TrustTest, JoinsWhatIsTrustedAlreadyOnce) {
  std::filesystem::create_directories(root_ + "/etc/ssl/certs");
  std::filesystem::create_directories(root_ + "/etc/pki/tls/certs");
  ASSERT_TRUE(sys::WriteFileAtomic(root_ + kBundle, "others", 0644).has_value());
  ASSERT_TRUE(
      sys::WriteFileAtomic(root_ + "/etc/pki/tls/certs/ca-bundle.crt", "more\n", 0644).has_value());
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(TrustAuthority(kCertificate, env_, root_).has_value());
    EXPECT_EQ(Read(kBundle), std::string("others\n") + kCertificate);
    EXPECT_EQ(Read("/etc/pki/tls/certs/ca-bundle.crt"), std::string("more\n") + kCertificate);
    EXPECT_EQ(Read("/usr/local/share/ca-certificates/tinderbox.crt"), kCertificate);
  }
  EXPECT_EQ(Read("/etc/ssl/cert.pem"), "none");
}

TEST_F(TrustTest, WorksWhereNothingIsThere) {
  ASSERT_TRUE(TrustAuthority(kCertificate, env_, root_).has_value());
  EXPECT_EQ(Read(kBundle), kCertificate);
}

TEST_F(TrustTest, VariablesOfTheUserStay) {
  env_ = {{"SSL_CERT_FILE", "/mine"}};
  ASSERT_TRUE(TrustAuthority(kCertificate, env_, root_).has_value());
  EXPECT_EQ(env_.at("SSL_CERT_FILE"), "/mine");
  EXPECT_EQ(env_.at("REQUESTS_CA_BUNDLE"), kBundle);
  EXPECT_EQ(env_.at("CURL_CA_BUNDLE"), kBundle);
  EXPECT_EQ(env_.at("NODE_EXTRA_CA_CERTS"), "/usr/local/share/ca-certificates/tinderbox.crt");
}

TEST_F(TrustTest, WhatIsNoCertificateIsRefused) {
  for (const std::string& text : {std::string(), std::string("x"), std::string(kCertificate, 20)}) {
    EXPECT_EQ(TrustAuthority(text, env_, root_).error().code(), base::Code::kInvalidArgument);
  }
  EXPECT_EQ(Read(kBundle), "none");
  EXPECT_TRUE(env_.empty());
}

}  // namespace
}  // namespace tinderbox::agent
