// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// What requests say of a sandbox's network, taken, shown and replaced; over real sockets.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "api/api_test_fixture.h"

namespace tinderbox::api {
namespace {

using base::Code;

TEST_F(ApiTest, NoInternetIsAskedForInEitherWay) {
  Call("POST", "/v2/sandboxes", R"({"templateID":"base","allow_internet_access":false})");
  EXPECT_FALSE(manager_.creates.back().network.allow_internet);
  Call("POST", "/v2/sandboxes", R"({"templateID":"base","network":{"denyOut":["0.0.0.0/0"]}})");
  EXPECT_FALSE(manager_.creates.back().network.allow_internet);
  const auto detail = Json(Call("GET", "/sandboxes/inew2")).as_object();
  EXPECT_FALSE(detail.at("allowInternetAccess").as_bool());
  EXPECT_EQ(detail.at("network").at("denyOut").as_array().size(), 1u);
}

TEST_F(ApiTest, NetworkRulesByAddressAreTakenShownAndReplaced) {
  const auto created = Call("POST", "/v2/sandboxes", R"({"templateID":"base","network":{
      "allowOut":["203.0.113.1","198.51.100.77/24"],"denyOut":["0.0.0.0/0","192.0.2.1/32"]}})");
  ASSERT_EQ(created.status, 201) << created.body;
  const auto network = [this] {
    const auto detail = Json(Call("GET", "/sandboxes/inew1")).as_object();
    return detail.contains("network") ? boost::json::serialize(detail.at("network")) : "none";
  };
  EXPECT_EQ(network(), R"({"allowOut":["203.0.113.1","198.51.100.0/24"],)"
                       R"("denyOut":["0.0.0.0/0","192.0.2.1"]})");
  const auto put = [this](const std::string& body) {
    return Call("PUT", "/sandboxes/inew1/network", body);
  };
  EXPECT_EQ(put(R"({"denyOut":["192.0.2.0/24"],"dnsServers":["1.1.1.1"],"rules":{}})").status, 204);
  EXPECT_EQ(network(), R"({"denyOut":["192.0.2.0/24"],"dnsServers":["1.1.1.1"]})");
  EXPECT_TRUE(manager_.Get("inew1")->network.allow_internet);
  EXPECT_EQ(put(R"({"allow_internet_access":false})").status, 204);
  EXPECT_FALSE(manager_.Get("inew1")->network.allow_internet);
  EXPECT_EQ(network(), "none");
  EXPECT_EQ(put("{}").status, 204);
  EXPECT_EQ(manager_.Get("inew1")->network, sandbox::NetworkRules{});
}

TEST_F(ApiTest, NetworkRulesByNameAreTakenAndShown) {
  const auto created = Call("POST", "/v2/sandboxes", R"({"templateID":"base","network":{
      "allowOut":["Example.com","192.0.2.1","*.sub.test"],"denyOut":["0.0.0.0/0"],"dnsServers":[]}})");
  ASSERT_EQ(created.status, 201) << created.body;
  const auto detail = Json(Call("GET", "/sandboxes/inew1")).as_object();
  EXPECT_EQ(boost::json::serialize(detail.at("network")),
            R"({"allowOut":["192.0.2.1","example.com","*.sub.test"],"denyOut":["0.0.0.0/0"],)"
            R"("dnsServers":[]})");
  EXPECT_EQ(manager_.creates.back().network.dns, std::vector<sys::Ipv4>{});
}

TEST_F(ApiTest, ProxyIsTakenAndShownWithoutItsPassword) {
  const auto created =
      Call("POST", "/v2/sandboxes", R"({"templateID":"base","network":{"egressProxy":{
      "address":"Proxy.test:1080","username":"me","password":"s3cret","tls":{"enabled":false}}}})");
  ASSERT_EQ(created.status, 201) << created.body;
  const auto& proxy = manager_.creates.back().network.proxy;
  ASSERT_TRUE(proxy);
  EXPECT_EQ(*proxy, (egress::Proxy{"proxy.test", 1080, "me", "s3cret"}));
  const auto detail = Json(Call("GET", "/sandboxes/inew1")).as_object();
  EXPECT_EQ(boost::json::serialize(detail.at("network")),
            R"({"egressProxy":{"address":"proxy.test:1080","username":"me"}})");
}

TEST_F(ApiTest, NetworkUpdatesThatCannotBe) {
  manager_.Put(Running("i1"));
  const std::string path = "/sandboxes/i1/network";
  for (const auto& [body, words] : std::vector<std::pair<std::string, std::string>>{
           {R"({"allowOut":["a..com"]})", "'allowOut': 'a..com'"},
           {R"({"allowOut":["*"]})", "'allowOut': '*'"},
           {R"({"denyOut":["example.com"]})", "'denyOut': 'example.com'"},
           {R"({"denyOut":["2001:db8::1"]})", "no IPv6"},
           {R"({"denyOut":["1.2.3.4/33"]})", "1.2.3.4/33"},
           {R"({"denyOut":"1.2.3.4"})", "'denyOut'"},
           {R"({"egressProxy":{"address":"p"}})", "'egressProxy.address'"},
           {R"({"egressProxy":{"address":"p:0"}})", "'egressProxy.address'"},
           {R"({"egressProxy":{"address":"p:1","password":"p"}})", "'egressProxy.password'"},
           {R"({"egressProxy":{"address":"p:1","tls":{"enabled":true}}})",
            "'egressProxy.tls.enabled'"},
           {R"({"rules":{"*":[]}})", "'rules'"},
           {R"({"allowPublicTraffic":true})", "'allowPublicTraffic'"},
           {R"([])", "body"}}) {
    ExpectError(Call("PUT", path, body), 400, words);
  }
  ExpectError(Call("PUT", path), 400, "body");
  ExpectError(Call("PUT", "/sandboxes/ix/network", "{}"), 404, "ix");
  manager_.fail_change = base::Error(Code::kFailedPrecondition, "it is dead");
  ExpectError(Call("PUT", path, "{}"), 409, "dead");
  EXPECT_EQ(manager_.Get("i1")->network, sandbox::NetworkRules{});
}

}  // namespace
}  // namespace tinderbox::api
