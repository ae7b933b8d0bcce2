// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/browser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/api_test_fixture.h"

namespace tinderbox::api {
namespace {

using testing::HasSubstr;

const net::HttpHeaders kPreflight = {{"Origin", "https://page.test"},
                                     {"Access-Control-Request-Method", "POST"},
                                     {"Access-Control-Request-Headers", "x-api-key,content-type"}};

TEST(HostNames, AllowWhatAPageCannotMakeItsOwn) {
  const HostNames names("Box.test:3000", {"proxy.example"});
  for (const char* good :
       {"", "localhost", "LOCALHOST:3000", "localhost.", "3000-i1.localhost:3000", "127.0.0.1",
        "127.1.2.3:3000", "[::1]", "[::1]:3000", "[::ffff:127.0.0.1]:3000", "box.test",
        "api.box.test:3000", "49983-i1.BOX.test", "proxy.example", "a.proxy.example:443"}) {
    EXPECT_TRUE(names.Allow(good)) << good;
  }
  for (const char* bad :
       {"evil.test", "evil.test:3000", "localhost.evil.test", "127.0.0.1.evil.test",
        "evillocalhost", "evilbox.test", "box.test.evil", "192.0.2.1", "0.0.0.0:3000", "[::]:3000",
        "[fd00::1]", "2130706433", "127.1", "::1", ".", ":3000", "localhost:3000.evil.test", "[::1",
        "a b"}) {
    EXPECT_FALSE(names.Allow(bad)) << bad;
  }
  // No domain is not a suffix of every name.
  EXPECT_FALSE(HostNames("", {}).Allow("evil.test"));
}

TEST_F(ApiTest, APreflightNeedsNoKeyAndChangesNothing) {
  manager_.Put(Running("i1"));
  for (const char* target : {"/v2/sandboxes", "/sandboxes/i1", "/nonsense", "/health",
                             "/volumecontent/v1/file?path=/a", "/tinderbox/v1/api-keys"}) {
    const auto response = CallWithoutKey("OPTIONS", target, kPreflight);
    EXPECT_EQ(response.status, 204) << target;
    EXPECT_EQ(Header(response, "Access-Control-Allow-Origin"), "*");
    EXPECT_THAT(Header(response, "Access-Control-Allow-Methods"), HasSubstr("DELETE"));
    EXPECT_THAT(Header(response, "Access-Control-Allow-Headers"), HasSubstr("X-API-Key"));
    EXPECT_EQ(Header(response, "Access-Control-Max-Age"), "43200");
    // A page never acts with what the browser itself knows.
    EXPECT_EQ(Header(response, "Access-Control-Allow-Credentials"), "");
  }
  EXPECT_TRUE(manager_.creates.empty());
  EXPECT_TRUE(manager_.Get("i1"));
  // Any other OPTIONS is a request like each other.
  ExpectError(CallWithoutKey("OPTIONS", "/v2/sandboxes"), 401);
  ExpectError(Call("OPTIONS", "/v2/sandboxes"), 405);
}

TEST_F(ApiTest, PagesOfEveryOriginMayReadResponses) {
  for (const auto& response :
       {Call("GET", "/v2/sandboxes"), Call("GET", "/nonsense"), Call("GET", "/sandboxes/i9"),
        CallWithoutKey("GET", "/v2/sandboxes"), CallWithoutKey("GET", "/health"),
        CallWithoutKey("GET", "/volumecontent/v1/file?path=/a"),
        CallWithoutKey("GET", "/files?path=/a&signature=v1_x")}) {
    EXPECT_EQ(Header(response, "Access-Control-Allow-Origin"), "*") << response.body;
    EXPECT_EQ(Header(response, "Access-Control-Expose-Headers"), "*");
  }
}

TEST_F(ApiTest, PagesMayCallASandboxsAgent) {
  const net::HttpHeaders gone = {{"E2b-Sandbox-Id", "gone"}};
  net::HttpHeaders preflight = kPreflight;
  preflight.push_back(gone.front());
  const auto allowed = CallWithoutKey("OPTIONS", "/process.Process/Start", preflight);
  EXPECT_EQ(allowed.status, 204);
  EXPECT_EQ(manager_.dials, 0) << "a preflight wakes no sandbox";
  EXPECT_THAT(Header(allowed, "Access-Control-Allow-Headers"), HasSubstr("E2b-Sandbox-Id"));
  const auto response = CallWithoutKey("GET", "/health", gone);
  EXPECT_EQ(response.status, 502);
  EXPECT_EQ(Header(response, "Access-Control-Allow-Origin"), "*");
  // A guest's own servers decide what pages may do.
  const net::HttpHeaders port = {{"E2b-Sandbox-Id", "gone"}, {"E2b-Sandbox-Port", "8000"}};
  preflight.push_back(port.back());
  EXPECT_EQ(CallWithoutKey("OPTIONS", "/", preflight).status, 502);
  EXPECT_EQ(Header(CallWithoutKey("GET", "/", port), "Access-Control-Allow-Origin"), "");
}

TEST_F(ApiTest, OnLoopbackAForeignHostIsRefused) {
  manager_.Put(Running("i1"));
  for (net::HttpHeaders headers : std::vector<net::HttpHeaders>{
           {}, {{"X-API-KEY", key_}}, {{"E2b-Sandbox-Id", "i1"}}, kPreflight}) {
    const char* method = headers.size() == kPreflight.size() ? "OPTIONS" : "GET";
    headers.push_back({"Host", "evil.test:3000"});
    for (const char* target : {"/health", "/v2/sandboxes", "/volumecontent/v1/file?path=/a",
                               "/files?path=/a&signature=v1_x"}) {
      const auto response = CallWithoutKey(method, target, headers);
      ExpectError(response, 403, "'evil.test:3000'");
      EXPECT_THAT(response.body, HasSubstr("allowed_hosts"));
      EXPECT_EQ(Header(response, "Access-Control-Allow-Origin"), "");
    }
  }
  EXPECT_EQ(manager_.dials, 0);
  for (const char* good :
       {"localhost", "127.0.0.1:1", "api.sandboxes.test:3000", "sandboxes.test"}) {
    EXPECT_EQ(CallWithoutKey("GET", "/health", {{"Host", good}}).status, 200) << good;
  }
}

TEST_F(ApiTest, OnTheUnixSocketHostDoesNotMatter) {
  const auto response = Client(true).Request(
      {.method = "GET", .target = "/health", .headers = {{"Host", "evil.test"}}, .body = {}},
      base::Deadline::After(std::chrono::seconds(5)));
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 200);
}

class WithoutCorsTest : public ApiTest {
 protected:
  ServerOptions Options() override {
    return {.domain = "sandboxes.test", .cors = false, .allowed_hosts = {"proxy.example"}};
  }
};

TEST_F(WithoutCorsTest, PagesAreNotServed) {
  ExpectError(CallWithoutKey("OPTIONS", "/v2/sandboxes", kPreflight), 401);
  EXPECT_EQ(Header(Call("GET", "/v2/sandboxes"), "Access-Control-Allow-Origin"), "");
}

TEST_F(WithoutCorsTest, MoreHostsCanBeAllowed) {
  EXPECT_EQ(CallWithoutKey("GET", "/health", {{"Host", "proxy.example"}}).status, 200);
  EXPECT_EQ(CallWithoutKey("GET", "/health", {{"Host", "evil.example"}}).status, 403);
}

}  // namespace
}  // namespace tinderbox::api
