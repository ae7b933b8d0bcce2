// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "intercept/bridge.h"

#include <gmock/gmock.h>

#include "intercept/bridge_fixture.h"

namespace tinderbox::intercept {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr char kGet[] = "GET / HTTP/1.1\r\nHost: api.example.com\r\n\r\n";

TEST_F(BridgeTest, EveryRequestGetsTheFieldsAndAnswersPass) {
  StartPlain(Options(80));
  for (int i = 1; i <= 3; ++i) {
    guest().Send("GET /" + std::to_string(i) +
                 " HTTP/1.1\r\nHost: api.example.com\r\nauthorization: mine\r\n\r\n");
    const std::string head = server().ReadHead();
    EXPECT_EQ(head, "GET /" + std::to_string(i) +
                        " HTTP/1.1\r\nHost: api.example.com\r\nAuthorization: Bearer s3cret\r\n"
                        "X-Count: " +
                        std::to_string(i) + "\r\n\r\n");
    server().Send("HTTP/1.1 200 Fine\r\nX-Odd:  kept \r\nContent-Length: 2\r\n\r\nok");
    EXPECT_EQ(guest().ReadUntil("ok"),
              "HTTP/1.1 200 Fine\r\nX-Odd:  kept \r\nContent-Length: 2\r\n\r\nok");
  }
  guest().Shutdown();
  EXPECT_EQ(server().ReadAll(), "");
}

TEST_F(BridgeTest, BodiesPassAsTheyAre) {
  StartPlain(Options(80));
  const std::string chunks = "5;x=y\r\nhello\r\n0\r\nTrailer: t\r\n\r\n";
  const std::string head = "POST / HTTP/1.1\r\nHost: api.example.com\r\n";
  guest().Send(head + "Transfer-Encoding: chunked\r\n\r\n" + chunks + head +
               "Content-Length: 4\r\n\r\nbody");
  EXPECT_THAT(server().ReadHead(), HasSubstr("Transfer-Encoding: chunked"));
  EXPECT_EQ(server().ReadUntil("t\r\n\r\n"), chunks);
  // The next one waits for this one's answer.
  EXPECT_TRUE(server().Silent());
  server().Send(
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" +
      chunks);
  EXPECT_THAT(guest().ReadUntil("t\r\n\r\n"),
              StartsWith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200"));
  EXPECT_THAT(server().ReadUntil("body"), HasSubstr("Bearer s3cret"));
  server().Send("HTTP/1.1 204 None\r\n\r\n");
  EXPECT_EQ(guest().ReadHead(), "HTTP/1.1 204 None\r\n\r\n");
}

// Each piece costs both ends a packet, a turn, and with TLS a record.
TEST_F(BridgeTest, WhatIsHereOfABodyGoesWithItsHeadInOnePiece) {
  StartPlain(Options(80));
  guest().Send("POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 6\r\n\r\nbodyGE");
  EXPECT_THAT(server().ReadOnce(), EndsWith("\r\n\r\nbodyGE"));
  server().Send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfi");
  EXPECT_THAT(guest().ReadOnce(), EndsWith("\r\n\r\nfi"));
  server().Send("ne");
  EXPECT_EQ(guest().ReadOnce(), "ne");
  // The next request's head stood behind a body already.
  guest().Send("PUT / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 1\r\n\r\n1" +
               std::string(kGet));
  EXPECT_THAT(server().ReadOnce(), EndsWith("\r\n\r\n1"));
  server().Send("HTTP/1.1 204 None\r\n\r\n");
  EXPECT_EQ(guest().ReadHead(), "HTTP/1.1 204 None\r\n\r\n");
  EXPECT_THAT(server().ReadHead(), StartsWith("GET / HTTP/1.1"));
  server().Send("HTTP/1.1 204 None\r\n\r\n");
  EXPECT_EQ(guest().ReadHead(), "HTTP/1.1 204 None\r\n\r\n");
}

TEST_F(BridgeTest, MuchGoesBothWays) {
  StartPlain(Options(80));
  const std::string big(3 << 20, 'b');
  std::thread sender([this, &big] {
    guest().Send("PUT / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: " +
                 std::to_string(big.size()) + "\r\n\r\n");
    for (std::size_t at = 0; at < big.size(); at += 4096) guest().Send(big.substr(at, 4096));
  });
  server().ReadHead();
  std::string got;
  while (got.size() < big.size()) got += server().ReadUntil("b");
  sender.join();
  EXPECT_EQ(got, big);
  std::thread answerer([this, &big] {
    server().Send("HTTP/1.1 200 OK\r\n\r\n");
    for (std::size_t at = 0; at < big.size(); at += 4096) server().Send(big.substr(at, 4096));
    server().Close();
  });
  const std::string answer = guest().ReadAll();
  answerer.join();
  EXPECT_EQ(answer.size(), 19 + big.size());
  EXPECT_TRUE(guest().ended());
}

TEST_F(BridgeTest, AnotherHostIsMisdirected) {
  StartPlain(Options(80));
  guest().Send(kGet);
  server().ReadHead();
  server().Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  guest().ReadHead();
  guest().Send("GET / HTTP/1.1\r\nHost: evil.example.com\r\n\r\n");
  const std::string answer = guest().ReadAll();
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 421 Misdirected Request\r\n"));
  EXPECT_EQ(server().ReadAll(), "");
  EXPECT_EQ(asked_, 1);
}

TEST_F(BridgeTest, WhatWouldComeBackOrIsBrokenIsRefused) {
  for (const auto& [head, status] :
       {std::pair("TRACE / HTTP/1.1\r\nHost: api.example.com\r\n\r\n", "405"),
        std::pair("CONNECT x HTTP/1.1\r\nHost: api.example.com\r\n\r\n", "421"),
        std::pair("GET / HTTP/1.1\nHost: api.example.com\n\n\r\n\r\n", "400"),
        std::pair("POST / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 1\r\n"
                  "Transfer-Encoding: chunked\r\n\r\n",
                  "400")}) {
    over_ = {};
    StartPlain(Options(80));
    guest().Send(head);
    EXPECT_THAT(guest().ReadAll(), StartsWith(std::string("HTTP/1.1 ") + status)) << head;
    EXPECT_EQ(server().ReadAll(), "");
    EXPECT_TRUE(Over());
  }
  over_ = {};
  StartPlain(Options(80));
  guest().Send("GET / HTTP/1.1\r\nX: " + std::string(70000, 'x'));
  EXPECT_THAT(guest().ReadAll(), StartsWith("HTTP/1.1 431"));
  EXPECT_EQ(asked_, 0);
}

TEST_F(BridgeTest, ASecretThatIsGoneIsToldAndTheServerHearsNothing) {
  refuse_ = true;
  StartPlain(Options(80));
  guest().Send(kGet);
  const std::string answer = guest().ReadAll();
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 502"));
  EXPECT_THAT(answer, HasSubstr("secret 'x' not found"));
  EXPECT_EQ(server().ReadAll(), "");
}

TEST_F(BridgeTest, After101TheBytesPassRaw) {
  StartPlain(Options(80));
  guest().Send(
      "GET /ws HTTP/1.1\r\nHost: api.example.com\r\nConnection: Upgrade\r\nUpgrade: "
      "websocket\r\n\r\n");
  EXPECT_THAT(server().ReadHead(), HasSubstr("Bearer s3cret"));
  server().Send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nfirst frame");
  EXPECT_THAT(guest().ReadUntil("first frame"), StartsWith("HTTP/1.1 101"));
  guest().Send("GET / HTTP/1.1\r\nHost: evil\r\n\r\n");
  EXPECT_EQ(server().ReadHead(), "GET / HTTP/1.1\r\nHost: evil\r\n\r\n");
  guest().Shutdown();
  EXPECT_EQ(server().ReadAll(), "");
  server().Send("last words");
  server().Close();
  EXPECT_EQ(guest().ReadAll(), "last words");
  EXPECT_EQ(asked_, 1);
}

TEST_F(BridgeTest, AServerThatLeavesHttpUnaskedIsCutOff) {
  StartPlain(Options(80));
  guest().Send(kGet);
  server().ReadHead();
  server().Send("HTTP/1.1 101 Switching Protocols\r\n\r\n");
  EXPECT_EQ(guest().ReadAll(), "");
}

TEST_F(BridgeTest, AnEarlyAnswerReachesWhoStillSends) {
  StartPlain(Options(80));
  guest().Send("PUT / HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 1000000\r\n\r\nbegin");
  server().ReadUntil("begin");
  server().Send("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
  server().Close();
  guest().Send(std::string(50000, 'x'));
  EXPECT_THAT(guest().ReadAll(), StartsWith("HTTP/1.1 413"));
}

TEST_F(BridgeTest, AnIdleServersEndIsPassedOn) {
  StartPlain(Options(80));
  guest().Send(kGet);
  server().ReadHead();
  server().Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  guest().ReadHead();
  server().Close();
  EXPECT_EQ(guest().ReadAll(), "");
  EXPECT_TRUE(guest().ended());
}

TEST_F(BridgeTest, ATruncatedAnswerIsNoWholeOne) {
  StartPlain(Options(80));
  guest().Send(kGet);
  server().ReadHead();
  server().Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
  server().Close();
  EXPECT_THAT(guest().ReadAll(), Not(HasSubstr("halfhalf")));
  EXPECT_TRUE(Over());
}

TEST_F(BridgeTest, SlowHeadsAndSilenceEnd) {
  BridgeOptions options = Options(80);
  options.head = std::chrono::milliseconds(200);
  options.idle = std::chrono::milliseconds(200);
  StartPlain(options);
  guest().Send("GET / HT");
  guest().ReadAll();
  EXPECT_TRUE(Over());
}

class TlsBridgeTest : public BridgeTest {
 protected:
  void SetUp() override {
    ours_ = Authority::Open(dir_ + "/ours.pem").value();
    internet_ = Authority::Open(dir_ + "/internet.pem").value();
    ASSERT_TRUE(
        sys::WriteFileAtomic(dir_ + "/internet.crt", internet_->certificate(), 0644).has_value());
    ASSERT_TRUE(sys::WriteFileAtomic(dir_ + "/ours.crt", ours_->certificate(), 0644).has_value());
    upstream_ = MakeClientContext(dir_ + "/internet.crt").value();
    trusting_ours_ = MakeClientContext(dir_ + "/ours.crt").value();
  }
  // The bridge, and the server's handshake with a certificate for `server_name`; whether the
  // guest's succeeded.
  bool Connect(const std::string& server_name) {
    Pair();
    std::promise<bool> met;
    guest_thread_ = std::thread(
        [this, &met] { met.set_value(guest().Tls(trusting_ours_.get(), "api.example.com")); });
    // As the gateway: it has read the hello.
    std::string hello(4096, '\0');
    hello.resize(
        static_cast<std::size_t>(::recv(inner_client_.get(), hello.data(), hello.size(), 0)));
    as_server_ = ours_->ServerContext("api.example.com").value();
    Start(Options(443), hello, as_server_.get(), upstream_.get());
    server_context_ = internet_->ServerContext(server_name).value();
    const bool good = met.get_future().get();
    guest_thread_.join();
    return good;
  }

  std::unique_ptr<Authority> ours_, internet_;
  SslContextPtr upstream_, trusting_ours_, as_server_, server_context_;
  std::thread guest_thread_;
};

TEST_F(TlsBridgeTest, BothSidesAreVerifiedTls) {
  ASSERT_TRUE(Connect("api.example.com"));
  const unsigned char* protocol = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(guest().ssl(), &protocol, &size);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(protocol), size), "http/1.1");
  guest().Send(kGet);
  ASSERT_TRUE(server().Tls(server_context_.get(), ""));
  EXPECT_STREQ(SSL_get_servername(server().ssl(), TLSEXT_NAMETYPE_host_name), "api.example.com");
  EXPECT_THAT(server().ReadHead(), HasSubstr("Authorization: Bearer s3cret\r\n"));
  server().Send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  EXPECT_THAT(guest().ReadUntil("ok"), StartsWith("HTTP/1.1 200 OK"));
  guest().Send(kGet);
  server().ReadHead();
  // Without a length: the end is the server's word for it.
  server().Send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
  server().Close();
  EXPECT_THAT(guest().ReadAll(), HasSubstr("until the end"));
  EXPECT_TRUE(guest().ended()) << "without TLS' word for it, an end may be anybody's";
}

TEST_F(TlsBridgeTest, AServerWithAWrongCertificateHearsNothing) {
  ASSERT_TRUE(Connect("evil.example.com"));
  guest().Send(kGet);
  EXPECT_FALSE(server().Tls(server_context_.get(), ""));
  const std::string answer = guest().ReadAll();
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 502"));
  EXPECT_THAT(answer, HasSubstr("hostname mismatch"));
  EXPECT_THAT(answer, Not(HasSubstr("s3cret")));
}

TEST_F(TlsBridgeTest, AServerOfAnUnknownAuthorityHearsNothing) {
  internet_ = Authority::Open(dir_ + "/other.pem").value();
  ASSERT_TRUE(Connect("api.example.com"));
  guest().Send(kGet);
  EXPECT_FALSE(server().Tls(server_context_.get(), ""));
  EXPECT_THAT(guest().ReadAll(), StartsWith("HTTP/1.1 502"));
}

TEST_F(TlsBridgeTest, AGuestThatDoesNotTrustUsOrSpeaksOtherwiseIsLeftAlone) {
  trusting_ours_ = MakeClientContext({}).value();
  EXPECT_FALSE(Connect("api.example.com"));
  EXPECT_TRUE(Over());
  over_ = {};
  trusting_ours_ = MakeClientContext(dir_ + "/ours.crt").value();
  SSL_CTX_set_alpn_protos(trusting_ours_.get(), reinterpret_cast<const unsigned char*>("\x02h2"),
                          3);
  EXPECT_FALSE(Connect("api.example.com"));
}

TEST(ClientContext, AFileOfAuthoritiesThatIsNoneIsRefused) {
  EXPECT_EQ(MakeClientContext("/nonexistent").error().code(), base::Code::kNotFound);
  EXPECT_EQ(MakeClientContext("/etc/hostname").error().code(), base::Code::kInvalidArgument);
}

}  // namespace
}  // namespace tinderbox::intercept
