// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "egress/first_bytes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "egress/hello_fixture.h"

namespace tinderbox::egress {
namespace {

using testing::Counted;
using testing::Extension;
using testing::Hello;
using testing::Number;
using testing::Record;
using testing::ServerName;

const std::string kPlain =
    Record(Hello(Extension(10, "groups") + ServerName("Www.Example.com") + Extension(16, "alpn")));

TEST(ClientHello, ItsServerNameIsRead) {
  const FirstWords words = ReadClientHello(kPlain);
  EXPECT_EQ(words.said, Said::kName);
  EXPECT_EQ(words.name, "www.example.com");
  EXPECT_EQ(ReadClientHello(kPlain + "early data").name, "www.example.com");
}

TEST(ClientHello, EveryBeginningOfItAsksForMore) {
  for (std::size_t size = 0; size < kPlain.size(); ++size) {
    EXPECT_EQ(ReadClientHello(kPlain.substr(0, size)).said, Said::kMore) << size;
  }
}

TEST(ClientHello, MayComeInManyRecords) {
  const std::string hello = Hello(ServerName("example.com"));
  std::string records;
  for (const char byte : hello) records += Record(std::string(1, byte));
  EXPECT_EQ(ReadClientHello(records).name, "example.com");
  EXPECT_EQ(ReadClientHello(records.substr(0, records.size() - 1)).said, Said::kMore);
}

TEST(ClientHello, WithoutNameSaysNothing) {
  EXPECT_EQ(ReadClientHello(Record(Hello(Extension(10, "groups")))).said, Said::kNothing);
  EXPECT_EQ(ReadClientHello(Record(Hello(""))).said, Said::kNothing);
  EXPECT_EQ(ReadClientHello(Record(Hello(ServerName("192.0.2.1")))).said, Said::kNothing);
  EXPECT_EQ(ReadClientHello(Record(Hello(ServerName(std::string("a\0.com", 6))))).said,
            Said::kNothing);
}

TEST(ClientHello, BrokenOnesAreForeign) {
  EXPECT_EQ(ReadClientHello("GET / HTTP/1.1\r\n\r\n").said, Said::kForeign);
  EXPECT_EQ(ReadClientHello("SSH-2.0-x\r\n").said, Said::kForeign);
  EXPECT_EQ(ReadClientHello(Number(22, 1) + Number(0x0301, 2) + Number(0, 2)).said, Said::kForeign);
  EXPECT_EQ(ReadClientHello(Record(Number(2, 1) + Number(0, 3))).said, Said::kForeign)
      << "a ServerHello";
  EXPECT_EQ(ReadClientHello(Record(Number(1, 1) + Number(0xffffff, 3))).said, Said::kForeign)
      << "longer than any";
  EXPECT_EQ(ReadClientHello(Record(Number(1, 1) + Number(3, 3) + "abc")).said, Said::kForeign);
  EXPECT_EQ(ReadClientHello(Record(Hello(ServerName("a.test") + ServerName("b.test")))).said,
            Said::kForeign)
      << "two names: two readers might choose differently";
  EXPECT_EQ(ReadClientHello(Record(Hello(Extension(0, "\xff\xff")))).said, Said::kForeign);
  EXPECT_EQ(ReadClientHello(Record(Hello("\xff"))).said, Said::kForeign);
  const std::string two = Extension(
      0, Counted(Number(0, 1) + Counted("a.test", 2) + Number(0, 1) + Counted("b.test", 2), 2));
  EXPECT_EQ(ReadClientHello(Record(Hello(two))).said, Said::kForeign);
}

TEST(HttpHost, IsTheHostFieldWithoutPort) {
  EXPECT_EQ(ReadHttpHost("GET / HTTP/1.1\r\nHost: Example.com\r\n\r\n").name, "example.com");
  EXPECT_EQ(ReadHttpHost("POST /x HTTP/1.1\r\nA: b\r\nhost: example.com:8080\r\n"
                         "Content-Length: 3\r\n\r\nabc")
                .name,
            "example.com");
  EXPECT_EQ(ReadHttpHost("GET http://example.com/x HTTP/1.1\r\nHost: example.com\r\n\r\n").name,
            "example.com");
}

TEST(HttpHost, EveryBeginningOfItAsksForMore) {
  const std::string request = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n";
  for (std::size_t size = 0; size < request.size(); ++size) {
    EXPECT_EQ(ReadHttpHost(request.substr(0, size)).said, Said::kMore) << size;
  }
}

TEST(HttpHost, WithoutNameSaysNothing) {
  EXPECT_EQ(ReadHttpHost("GET / HTTP/1.0\r\n\r\n").said, Said::kNothing);
  EXPECT_EQ(ReadHttpHost("GET / HTTP/1.1\r\nHost: 192.0.2.1:80\r\n\r\n").said, Said::kNothing);
  EXPECT_EQ(ReadHttpHost("GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n").said, Said::kNothing);
  EXPECT_EQ(ReadHttpHost("GET / HTTP/1.1\r\nHost: a@b.com\r\n\r\n").said, Said::kNothing);
}

TEST(HttpHost, AmbiguousAndBrokenOnesAreForeign) {
  EXPECT_EQ(ReadHttpHost("GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n").said,
            Said::kForeign);
  EXPECT_EQ(ReadHttpHost("GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n").said,
            Said::kForeign);
  EXPECT_EQ(ReadHttpHost("GET http://b.test@a.test/ HTTP/1.1\r\nHost: b.test\r\n\r\n").said,
            Said::kForeign);
  EXPECT_EQ(ReadHttpHost("CONNECT a.test:80 HTTP/1.1\r\nHost: a.test\r\n\r\n").said,
            Said::kForeign);
  EXPECT_EQ(ReadHttpHost("\x16\x03\x01").said, Said::kForeign);
  EXPECT_EQ(ReadHttpHost("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").said, Said::kForeign);
  EXPECT_EQ(ReadHttpHost("GET / HTTP/1.1\r\nHost: " + std::string(kMostFirstBytes, 'a')).said,
            Said::kForeign);
}

}  // namespace
}  // namespace tinderbox::egress
