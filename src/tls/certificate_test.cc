// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "tls/certificate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <ctime>
#include <filesystem>

#include "tls/test_certificate.h"

namespace tinderbox::tls {
namespace {

using base::Code;
using testing::HasSubstr;

class CertificateTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = testing::TempDir() + "tb-tls-XXXXXX";
    ASSERT_NE(mkdtemp(dir_.data()), nullptr);
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  static base::Error ErrorOf(const CertificateFiles& files) {
    const auto loaded = LoadCertificate(files);
    if (loaded) ADD_FAILURE() << files.certificate << " is taken";
    return loaded ? base::Error(Code::kInternal, "") : loaded.error();
  }
  std::string dir_;
};

TEST_F(CertificateTest, AGoodOneTellsItsNamesAndItsEnd) {
  const auto loaded = LoadCertificate(MakeCertificate(dir_));
  ASSERT_TRUE(loaded) << loaded.error().ToString();
  EXPECT_EQ(loaded->names, std::vector<std::string>{"*.box.test"});
  EXPECT_NEAR(static_cast<double>(loaded->not_after - std::time(nullptr)), 86400, 60);
}

TEST_F(CertificateTest, WhatIsWrongIsNamed) {
  const CertificateFiles good = MakeCertificate(dir_);
  const CertificateFiles other = MakeCertificate(dir_, {.stem = "other"});
  const base::Error missing = ErrorOf({dir_ + "/none.pem", good.key});
  EXPECT_EQ(missing.errno_value(), ENOENT);
  EXPECT_THAT(missing.ToString(), HasSubstr("tls_certificate"));
  EXPECT_THAT(missing.ToString(), HasSubstr("none.pem"));
  EXPECT_NE(missing.remedy(), "");
  EXPECT_THAT(ErrorOf({good.certificate, dir_ + "/none.key"}).ToString(), HasSubstr("tls_key"));
  const base::Error unreadable = ErrorOf({dir_, good.key});
  EXPECT_EQ(unreadable.errno_value(), EISDIR);
  const base::Error mismatched = ErrorOf({good.certificate, other.key});
  EXPECT_EQ(mismatched.code(), Code::kInvalidArgument);
  EXPECT_THAT(mismatched.message(), HasSubstr("does not belong"));
  EXPECT_THAT(ErrorOf({good.key, good.key}).message(), HasSubstr("no certificate"));
  EXPECT_THAT(ErrorOf({good.certificate, good.certificate}).message(), HasSubstr("no private key"));
}

TEST_F(CertificateTest, OneOutOfItsTimeIsNotTaken) {
  const auto old =
      MakeCertificate(dir_, {.begin = std::chrono::hours(-48), .end = std::chrono::hours(-24)});
  const base::Error expired = ErrorOf(old);
  EXPECT_EQ(expired.code(), Code::kFailedPrecondition);
  EXPECT_THAT(expired.message(), HasSubstr("has expired"));
  const auto early =
      MakeCertificate(dir_, {.begin = std::chrono::hours(24), .end = std::chrono::hours(48)});
  EXPECT_THAT(ErrorOf(early).message(), HasSubstr("is good from"));
}

TEST_F(CertificateTest, AnEncryptedKeyIsNotAskedFor) {
  const base::Error encrypted = ErrorOf(MakeCertificate(dir_, {.passphrase = "words"}));
  EXPECT_EQ(encrypted.code(), Code::kInvalidArgument);
  EXPECT_THAT(encrypted.message(), HasSubstr("is encrypted"));
}

TEST(CertificateNames, AWildcardIsForOneLabel) {
  const std::vector<std::string> names = {"*.box.test", "other.test"};
  EXPECT_TRUE(IsFor(names, "api.box.test"));
  EXPECT_TRUE(IsFor(names, "3000-i1.Box.Test"));
  EXPECT_TRUE(IsFor(names, "other.test"));
  EXPECT_FALSE(IsFor(names, "box.test"));
  EXPECT_FALSE(IsFor(names, "a.b.box.test"));
  EXPECT_FALSE(IsFor(names, ".box.test"));
  EXPECT_FALSE(IsFor(names, "api.other.test"));
}

}  // namespace
}  // namespace tinderbox::tls
