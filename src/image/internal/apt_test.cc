// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/apt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tinderbox::image {
namespace {

using base::Code;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr const char* kMeta = "linux-image-cloud-amd64";

TEST(AptTest, FindsTheKernelThatAMetaPackageDependsOn) {
  EXPECT_EQ(ParseKernelDependency("linux-image-cloud-amd64\n"
                                  "  Depends: linux-base\n"
                                  "  Depends: linux-image-6.1.0-41-cloud-amd64\n"
                                  "  Suggests: linux-image-9.9-cloud-amd64\n",
                                  kMeta),
            "linux-image-6.1.0-41-cloud-amd64");
  EXPECT_EQ(ParseKernelDependency("", "linux-image-6.1.0-41-cloud-amd64"),
            "linux-image-6.1.0-41-cloud-amd64");
}

TEST(AptTest, TakesNoOtherWordsForAKernelPackage) {
  for (const char* output :
       {"", "linux-image-cloud-amd64\n", "  Depends: bash\n", "  Depends: linux-image-cloud\n",
        "  Depends: linux-image-6 --config=x\n", "  Depends: linux-image-6;rm\n", "  Depends:\n"}) {
    const auto package = ParseKernelDependency(output, kMeta);
    ASSERT_FALSE(package) << output;
    EXPECT_EQ(package.error().code(), Code::kNotFound);
    EXPECT_FALSE(package.error().remedy().empty());
  }
}

constexpr std::string_view kPolicy = R"(Package files:
 100 /var/lib/dpkg/status
     release a=now
 500 http://mirror.example/debian-security bookworm-security/main amd64 Packages
     release v=12,o=Debian,a=stable-security,n=bookworm-security,l=Debian-Security,c=main,b=amd64
     origin mirror.example
 500 http://mirror.example/debian bookworm/contrib amd64 Packages
     release v=12.1,o=Debian,a=stable,n=bookworm,l=Debian,c=contrib,b=amd64
     origin mirror.example
 500 http://mirror.example/debian bookworm/main amd64 Packages
     release v=12.1,o=Debian,a=stable,n=bookworm,l=Debian,c=main,b=amd64
     origin mirror.example
 500 https://apt.example.com bookworm/main amd64 Packages
     release o=Example,a=stable,n=bookworm,l=Example,c=main,b=amd64
     origin apt.example.com
 500 http://mirror.example/debian trixie/main amd64 Packages
     release v=13,o=Debian,a=testing,n=trixie,l=Debian,c=main,b=amd64
     origin mirror.example
Pinned packages:
)";

TEST(AptTest, TakesTheHostsDebianArchivesOfTheSuiteOnly) {
  EXPECT_THAT(DebianSources(kPolicy, "bookworm"),
              ElementsAre("deb http://mirror.example/debian bookworm main",
                          "deb http://mirror.example/debian-security bookworm-security main"));
  EXPECT_THAT(DebianSources(kPolicy, "trixie"),
              ElementsAre("deb http://mirror.example/debian trixie main"));
}

TEST(AptTest, FallsBackToThePublicArchives) {
  EXPECT_THAT(DebianSources("", "bookworm"),
              ElementsAre("deb http://deb.debian.org/debian bookworm main",
                          "deb http://deb.debian.org/debian bookworm-updates main",
                          "deb http://deb.debian.org/debian-security bookworm-security main"));
}

TEST(AptTest, PutsNoPasswordIntoATemplate) {
  const auto sources = DebianSources(
      " 500 https://me:secret@mirror.example/debian bookworm/main amd64 Packages\n"
      "     release v=12.1,o=Debian,a=stable,n=bookworm,l=Debian,c=main,b=amd64\n",
      "bookworm");
  for (const auto& source : sources) EXPECT_EQ(source.find("secret"), std::string::npos);
  EXPECT_EQ(sources.size(), 3u);
}

TEST(AptTest, TakesOverHowTheHostReachesItsArchive) {
  EXPECT_THAT(TransportSettings("Acquire \"\";\n"
                                "Acquire::http::Proxy \"http://proxy.example:3142\";\n"
                                "Acquire::http::Proxy::direct.example \"DIRECT\";\n"
                                "Acquire::https::CaInfo \"/etc/ssl/own.pem\";\n"
                                "Acquire::https::Proxy \"\";\n"
                                "Acquire::Check-Date \"false\";\n"
                                "Acquire::Languages \"de\";\n"
                                "DPkg::Post-Invoke:: \"rm -f x\";\n"),
              ElementsAre("Acquire::http::Proxy \"http://proxy.example:3142\";",
                          "Acquire::http::Proxy::direct.example \"DIRECT\";",
                          "Acquire::https::CaInfo \"/etc/ssl/own.pem\";",
                          "Acquire::Check-Date \"false\";"));
  EXPECT_THAT(TransportSettings(""), IsEmpty());
}

TEST(AptTest, TellsWhatToDoAboutAFailure) {
  const auto network = AptError("fetch", 100, "W: x\nE: Could not resolve 'deb.example'\n");
  EXPECT_EQ(network.code(), Code::kUnavailable);
  EXPECT_EQ(network.message(), "fetch: Could not resolve 'deb.example'");
  const auto suite = AptError(
      "fetch", 100, "E: The repository 'http://x nosuch Release' does not have a Release file.\n");
  EXPECT_EQ(suite.code(), Code::kNotFound);
  const auto full = AptError("unpack", 100, "E: write (28: No space left on device)\n");
  EXPECT_EQ(full.code(), Code::kResourceExhausted);
  const auto warned = AptError("fetch", 0, "W: Failed to fetch http://x  Could not connect\n");
  EXPECT_EQ(warned.code(), Code::kUnavailable);
  const auto other = AptError("run", 7, "");
  EXPECT_EQ(other.message(), "run: exit code 7");
  for (const auto& error : {network, suite, full, other}) EXPECT_FALSE(error.remedy().empty());
}

}  // namespace
}  // namespace tinderbox::image
