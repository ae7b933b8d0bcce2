// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Who may reach a sandbox's ports, what its servers see as their host, and TLS on either side.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <chrono>
#include <future>

#include "api/api_test_fixture.h"
#include "api/port_access.h"
#include "api/proxy.h"
#include "api/proxy_test_guest.h"
#include "tls/server.h"
#include "tls/test_certificate.h"

namespace tinderbox::api {
namespace {

using sandbox::State;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

constexpr char kOk[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

class ProxyAccessTest : public ApiTest {
 protected:
  void SetUp() override {
    ApiTest::SetUp();
    files_ = tls::MakeCertificate(dir_, {.name = "*.sandboxes.test"});
  }
  void TearDown() override {
    ApiTest::TearDown();
    guest_.reset();
  }
  void Serve(std::function<void(RawSocket&)> serve, std::uint16_t guest_port = 8000) {
    guest_ = std::make_unique<RawGuest>(std::move(serve));
    const std::lock_guard lock(manager_.mutex);
    manager_.ports[guest_port] = guest_->port();
  }
  // A guest that answers every request with "ok" and keeps the last head it has seen.
  void ServeOk(std::uint16_t guest_port = 8000) {
    Serve(
        [this](RawSocket& socket) {
          for (std::string head; !(head = socket.ReadUntil("\r\n\r\n")).empty();) {
            const std::lock_guard lock(seen_mutex_);
            seen_ = head;
            socket.Send(kOk);
          }
        },
        guest_port);
  }
  // The same with TLS.
  void ServeTls(std::function<void(tls::TlsSocket&)> serve, std::uint16_t guest_port = 8443) {
    auto loaded = tls::LoadCertificate(files_);
    ASSERT_TRUE(loaded) << loaded.error().ToString();
    certificate_ = std::move(*loaded);
    Serve(
        [this, serve](RawSocket& socket) {
          auto inner =
              tls::TlsSocket::Accept(sys::UniqueFd(::dup(socket.fd())), certificate_.context.get());
          if (inner.ok()) serve(inner);
          inner.Close();
        },
        guest_port);
  }
  void ServeTlsOk(std::uint16_t guest_port = 8443) {
    ServeTls(
        [this](tls::TlsSocket& socket) {
          for (std::string head; !(head = socket.ReadUntil("\r\n\r\n")).empty();) {
            const std::lock_guard lock(seen_mutex_);
            seen_ = head;
            server_name_ = socket.server_name();
            socket.Send(kOk);
          }
        },
        guest_port);
  }
  sandbox::SandboxInfo With(sandbox::PortAccess ports, const std::string& id = "i1") {
    sandbox::SandboxInfo info = Running(id);
    info.ports = std::move(ports);
    manager_.Put(info);
    return info;
  }
  net::HttpResponse Get(int port, net::HttpHeaders more = {}, const std::string& path = "/") {
    more.push_back({"E2b-Sandbox-Id", "i1"});
    more.push_back({"E2b-Sandbox-Port", std::to_string(port)});
    return CallWithoutKey("GET", path, std::move(more));
  }
  std::string Seen() {
    const std::lock_guard lock(seen_mutex_);
    return seen_;
  }

  tls::CertificateFiles files_;
  tls::Certificate certificate_;
  std::mutex seen_mutex_;
  std::string seen_;
  std::string server_name_;
  std::unique_ptr<RawGuest> guest_;
};

// --- allowPublicTraffic

TEST_F(ProxyAccessTest, PortsThatAreNotPublicNeedTheTokenAndGuestsNeverSeeIt) {
  ServeOk();
  With({.traffic_token = "t0ken"});
  for (const auto& [token, words] : {std::pair("", "is missing"),
                                     {"t0keN", "is invalid"},
                                     {"t0ke", "is invalid"},
                                     {"t0ken ", "ok"},
                                     {"t0kent0ken", "is invalid"}}) {
    net::HttpHeaders headers;
    if (*token != '\0') headers.push_back({"E2B-Traffic-Access-Token", token});
    const auto answer = Get(8000, headers);
    if (std::string_view(words) == "ok") {  // a header's value has no space at its end
      EXPECT_EQ(answer.status, 200);
      continue;
    }
    EXPECT_EQ(answer.status, 403) << token;
    EXPECT_EQ(Json(answer).at("sandboxId").as_string(), "i1");
    EXPECT_EQ(Json(answer).at("code").as_int64(), 403);
    EXPECT_THAT(std::string(Json(answer).at("message").as_string()), HasSubstr(words));
  }
  EXPECT_EQ(Get(8000, {{"e2b-traffic-access-token", "t0ken"}}).status, 200);
  EXPECT_THAT(Seen(), Not(HasSubstr("t0ken")));
  EXPECT_THAT(Seen(), Not(HasSubstr("raffic")));
}

TEST_F(ProxyAccessTest, WithoutTheTokenNothingIsDialled) {
  ServeOk();
  auto info = With({.traffic_token = "t0ken"});
  // As of one that traffic would resume: Dial is what resumes.
  info.state = State::kPaused;
  info.auto_resume = true;
  manager_.Put(info);
  EXPECT_EQ(Get(8000).status, 403);
  EXPECT_EQ(Get(8000, {{"Connection", "Upgrade"}, {"Upgrade", "websocket"}}).status, 403);
  EXPECT_EQ(Get(8000, {{"e2b-traffic-access-token", "other"}}).status, 403);
  EXPECT_EQ(CallWithoutKey("POST", "/", {{"Host", "8000-i1.sandboxes.test"}}, "body").status, 403);
  EXPECT_EQ(manager_.dials, 0);
  EXPECT_EQ(Get(8000, {{"e2b-traffic-access-token", "t0ken"}}).status, 200);
}

TEST_F(ProxyAccessTest, ABrowserGetsAPage) {
  With({.traffic_token = "t0ken"});
  const auto page = Get(8000, {{"Sec-Fetch-Mode", "navigate"}});
  EXPECT_EQ(page.status, 403);
  EXPECT_THAT(Header(page, "Content-Type"), HasSubstr("text/html"));
}

TEST_F(ProxyAccessTest, TheAgentsPortHasATokenOfItsOwn) {
  ServeOk(49983);
  With({.traffic_token = "t0ken", .mask_host = "masked.test", .https_ports = {49983}});
  EXPECT_EQ(Get(49983, {}, "/health").status, 200);
  EXPECT_THAT(Seen(), Not(HasSubstr("masked.test")));
}

TEST_F(ProxyAccessTest, TheTokenIsToldAndNeverAsNullInDetail) {
  const auto created = Call("POST", "/v2/sandboxes",
                            R"({"templateID":"base","network":{"allowPublicTraffic":false}})");
  EXPECT_EQ(Json(created).at("trafficAccessToken").as_string(), "traffic-of-inew1");
  const auto detail = Json(Call("GET", "/sandboxes/inew1"));
  EXPECT_EQ(detail.at("trafficAccessToken").as_string(), "traffic-of-inew1");
  EXPECT_EQ(detail.at("network"), boost::json::parse(R"({"allowPublicTraffic":false})"));
  const auto connected = Call("POST", "/v2/sandboxes/inew1/connect", "{}");
  EXPECT_EQ(Json(connected).at("trafficAccessToken").as_string(), "traffic-of-inew1");
  Call("POST", "/v2/sandboxes",
       R"({"templateID":"base","network":{"allowPublicTraffic":null,"maskRequestHost":null}})");
  const auto plain = Json(Call("GET", "/sandboxes/inew2"));
  EXPECT_FALSE(plain.as_object().contains("trafficAccessToken"));
  EXPECT_FALSE(plain.as_object().contains("network"));
  // Listed are sandboxes, not their secrets.
  EXPECT_THAT(Call("GET", "/v2/sandboxes").body, Not(HasSubstr("traffic-of")));
}

// --- maskRequestHost

TEST_F(ProxyAccessTest, TheHostThatGuestsSeeIsMasked) {
  ServeOk();
  With({.mask_host = "box-${PORT}.example.test:${PORT}"});
  EXPECT_EQ(Get(8000).status, 200);
  EXPECT_THAT(Seen(), HasSubstr("\r\nHost: box-8000.example.test:8000\r\n"));
  EXPECT_THAT(Seen(), Not(HasSubstr("127.0.0.1")));
  // A target in absolute form names a host too.
  RawSocket client = RawSocket::Connect(port_);
  client.Send(
      "GET http://8000-i1.sandboxes.test/a?b HTTP/1.1\r\nHost: 8000-i1.sandboxes.test\r\n\r\n");
  client.ReadUntil("ok");
  EXPECT_THAT(Seen(), StartsWith("GET /a?b HTTP/1.1\r\nHost: box-8000.example.test:8000\r\n"));
  EXPECT_THAT(Seen(), Not(HasSubstr("sandboxes.test")));
}

TEST(MaskHost, IsAHostOrAHostAndAPort) {
  for (const char* good : {"localhost", "localhost:3000", "localhost:${PORT}", "a-b_c.test",
                           "${PORT}-x.test", "10.0.0.1:${PORT}", "${PORT}.${PORT}.test:1"}) {
    EXPECT_TRUE(CheckMaskHost(good)) << good;
  }
  const std::string long_name(260, 'a');
  for (const std::string& bad : {std::string("a b"),
                                 std::string("a\r\nX: y"),
                                 std::string("a\0b", 3),
                                 std::string("http://a"),
                                 std::string("a/b"),
                                 std::string("${HOST}"),
                                 std::string("a:${PORT}${PORT}"),
                                 std::string("a:"),
                                 std::string("a:0"),
                                 std::string("a:70000"),
                                 std::string(":1"),
                                 std::string("[::1"),
                                 std::string("[x]:1"),
                                 std::string("[::1]x"),
                                 std::string("a..b"),
                                 std::string("ä"),
                                 std::string("u@a"),
                                 std::string("${PORT"),
                                 long_name,
                                 std::string(2000, 'a')}) {
    EXPECT_FALSE(CheckMaskHost(bad)) << bad;
  }
}

TEST_F(ProxyAccessTest, WhatIsWrongIsRefusedByName) {
  for (const auto& [network, field] :
       {std::pair(R"({"maskRequestHost":"a b"})", "network.maskRequestHost"),
        {R"({"maskRequestHost":3})", "network.maskRequestHost"},
        {R"({"httpsPorts":[49983]})", "network.httpsPorts"},
        {R"({"httpsPorts":[0]})", "network.httpsPorts"},
        {R"({"httpsPorts":[65536]})", "network.httpsPorts"},
        {R"({"httpsPorts":[-1]})", "network.httpsPorts"},
        {R"({"httpsPorts":[44.5]})", "network.httpsPorts"},
        {R"({"httpsPorts":["443"]})", "network.httpsPorts"},
        {R"({"httpsPorts":443})", "network.httpsPorts"},
        {R"({"allowPublicTraffic":"no"})", "network.allowPublicTraffic"}}) {
    ExpectError(Call("POST", "/v2/sandboxes",
                     fmt::format(R"({{"templateID":"base","network":{}}})", network)),
                400, field);
  }
  boost::json::array many(129, 443);
  ExpectError(Call("POST", "/v2/sandboxes",
                   fmt::format(R"({{"templateID":"base","network":{{"httpsPorts":{}}}}})",
                               boost::json::serialize(many))),
              400, "network.httpsPorts");
}

TEST_F(ProxyAccessTest, WhatWasAskedForIsShownAndNoUpdateChangesIt) {
  const std::string network =
      R"({"allowPublicTraffic":false,"maskRequestHost":"x:${PORT}","httpsPorts":[8443,443]})";
  const auto created = Call("POST", "/sandboxes",
                            R"({"templateID":"base","secure":true,"network":)" + network + "}");
  ASSERT_EQ(created.status, 201) << created.body;
  EXPECT_EQ(Json(Call("GET", "/sandboxes/inew1")).at("network"), boost::json::parse(network));
  for (const auto& [field, value] : {std::pair("allowPublicTraffic", "true"),
                                     {"maskRequestHost", R"("y")"},
                                     {"httpsPorts", "[1]"}}) {
    ExpectError(
        Call("PUT", "/sandboxes/inew1/network", fmt::format(R"({{"{}":{}}})", field, value)), 400,
        field);
  }
  EXPECT_EQ(Call("PUT", "/sandboxes/inew1/network", "{}").status, 204);
  EXPECT_EQ(Json(Call("GET", "/sandboxes/inew1")).at("network"), boost::json::parse(network));
}

// --- httpsPorts

TEST_F(ProxyAccessTest, PortsThatSpeakTlsAreSpokenToInTlsAndConnectionsKept) {
  ServeTlsOk();
  With({.mask_host = "inner.test:${PORT}", .https_ports = {8443}});
  EXPECT_EQ(Get(8443).body, "ok");
  EXPECT_EQ(Get(8443).body, "ok");
  EXPECT_EQ(guest_->connections(), 1);
  EXPECT_THAT(Seen(), HasSubstr("\r\nHost: inner.test:8443\r\n"));
  EXPECT_EQ(server_name_, "inner.test");
}

TEST_F(ProxyAccessTest, WithoutAMaskNoNameIsToldInTls) {
  ServeTlsOk();
  With({.https_ports = {8443}});
  EXPECT_EQ(Get(8443).body, "ok");
  EXPECT_EQ(server_name_, "");
}

TEST_F(ProxyAccessTest, AServerWithTlsOnTheGuestsLoopbackIsReached) {
  auto loaded = tls::LoadCertificate(files_);
  ASSERT_TRUE(loaded);
  Serve(
      [&](RawSocket& socket) {
        socket.ReadUntil("\r\n\r\n");
        socket.Send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\n\r\n");
        auto inner =
            tls::TlsSocket::Accept(sys::UniqueFd(::dup(socket.fd())), loaded->context.get());
        inner.ReadUntil("\r\n\r\n");
        inner.Send("HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\ninner");
        inner.Close();
      },
      49983);
  With({.https_ports = {5173}});
  const auto answer = Get(5173);
  EXPECT_EQ(answer.status, 201);
  EXPECT_EQ(answer.body, "inner");
}

TEST_F(ProxyAccessTest, APortThatSpeaksNoTlsIs502) {
  Serve([](RawSocket& socket) {
    socket.ReadUntil("\x16");
    socket.Send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
  });
  With({.https_ports = {8000}});
  const auto answer = Get(8000);
  EXPECT_EQ(answer.status, 502);
  EXPECT_THAT(answer.body, HasSubstr("does not speak TLS"));
}

class ImpatientAccessTest : public ProxyAccessTest {
 protected:
  ServerOptions Options() override {
    ServerOptions options = ProxyAccessTest::Options();
    options.proxy.dial.deadline = std::chrono::milliseconds(300);
    return options;
  }
};

TEST_F(ImpatientAccessTest, AHandshakeWithoutEndIs504) {
  Serve([](RawSocket& socket) { socket.ReadToEnd(); });
  With({.https_ports = {8000}});
  EXPECT_EQ(Get(8000).status, 504);
}

TEST_F(ProxyAccessTest, AKilledSandboxEndsAHandshakeWithItsGuest) {
  std::promise<void> begun;
  Serve([&](RawSocket& socket) {
    socket.ReadUntil("\x16");
    begun.set_value();
    socket.ReadToEnd();
  });
  With({.https_ports = {8000}});
  RawSocket client = RawSocket::Connect(port_);
  client.Send(
      "GET / HTTP/1.1\r\nHost: localhost\r\nE2b-Sandbox-Id: i1\r\nE2b-Sandbox-Port: 8000\r\n\r\n");
  begun.get_future().wait();
  manager_.Gone("i1");
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(client.last_errno(), ECONNRESET);
}

// --- TLS in front

class TlsFrontTest : public ProxyAccessTest {
 protected:
  void SetUp() override {
    ProxyAccessTest::SetUp();
    auto tls = tls::Server::Open(files_);
    ASSERT_TRUE(tls) << tls.error().ToString();
    tls_ = std::move(*tls);
    OnLoop([this] {
      tls_port_ =
          server_->ListenTcp("127.0.0.1", 0, [this](int fd) { return tls_->Accept(fd); }).value();
    });
  }
  tls::TlsSocket Tls() { return tls::TlsSocket::Connect(tls_port_); }
  std::unique_ptr<tls::Server> tls_;
  std::uint16_t tls_port_ = 0;
};

TEST_F(TlsFrontTest, ControlCallsAndHostNamesPass) {
  ServeOk();
  With({});
  tls::TlsSocket client = Tls();
  client.Send(fmt::format(
      "GET /sandboxes/i1 HTTP/1.1\r\nHost: api.sandboxes.test:3000\r\nX-API-KEY: {}\r\n\r\n",
      key_));
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 200"));
  tls::TlsSocket second = Tls();
  second.Send("GET / HTTP/1.1\r\nHost: 8000-i1.sandboxes.test:3000\r\n\r\n");
  EXPECT_THAT(second.ReadUntil("ok"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Seen(), HasSubstr("Host: 8000-i1.sandboxes.test:3000\r\n"));
}

TEST_F(TlsFrontTest, WebSocketsPassWithTlsOnBothSides) {
  ServeTls([](tls::TlsSocket& socket) {
    EXPECT_THAT(socket.ReadUntil("\r\n\r\n"), HasSubstr("Upgrade: websocket\r\n"));
    socket.Send(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        "hello");
    for (std::string line; (line = socket.ReadUntil("\n")).ends_with('\n');) {
      socket.Send("echo " + line);
    }
    socket.Send("bye");
  });
  With({.traffic_token = "t0ken", .https_ports = {8443}});
  const std::string head =
      "GET /ws HTTP/1.1\r\nHost: 8443-i1.sandboxes.test\r\nConnection: Upgrade\r\n"
      "Upgrade: websocket\r\n";
  tls::TlsSocket denied = Tls();
  denied.Send(head + "\r\n");
  EXPECT_THAT(denied.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 403"));
  tls::TlsSocket client = Tls();
  // The first message right behind the head.
  client.Send(head + "e2b-traffic-access-token: t0ken\r\n\r\nfirst\n");
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 101"));
  EXPECT_EQ(client.ReadBytes(5), "hello");
  EXPECT_EQ(client.ReadUntil("\n"), "echo first\n");
  const std::string big = std::string(3 << 20, 'x') + "\n";
  client.Send(big);
  EXPECT_TRUE(client.ReadUntil("\n") == "echo " + big);
  // An end of one side reaches the other, which may have something to say still.
  client.EndSending();
  EXPECT_EQ(client.ReadToEnd(), "bye");
}

TEST_F(TlsFrontTest, KillingASandboxBreaksItsFlows) {
  Serve([&](RawSocket& socket) {
    socket.ReadUntil("\r\n\r\n");
    socket.Send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    socket.ReadToEnd();
  });
  With({});
  tls::TlsSocket client = Tls();
  client.Send("GET / HTTP/1.1\r\nHost: 8000-i1.sandboxes.test\r\n\r\n");
  client.ReadUntil("x\r\n");
  manager_.Gone("i1");
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_FALSE(client.ended_in_order());
}

}  // namespace
}  // namespace tinderbox::api
