// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The field `rules` of network options.
#include "egress/transform.h"

#include <gtest/gtest.h>

#include "api/api_test_fixture.h"

namespace tinderbox::api {
namespace {

constexpr char kRules[] =
    R"({"api.example.com":[{"transform":{"headers":{"Authorization":"Bearer ${e2b.secrets.Key}"}}}]})";

std::string Network(const std::string& rules) { return R"({"rules":)" + rules + "}"; }
std::string CreateBody(const std::string& rules) {
  return R"({"templateID":"base","network":)" + Network(rules) + "}";
}

TEST_F(ApiTest, RulesNameSecretsThatThereAre) {
  const auto refused = Call("POST", "/v2/sandboxes", CreateBody(kRules));
  ExpectError(refused, 400, "'key'");
  EXPECT_TRUE(Json(refused).as_object().contains("remedy"));
  EXPECT_TRUE(manager_.creates.empty());
  ASSERT_TRUE(secrets_->Create("key", secret::SecretText("hidden"), {}).has_value());
  const auto made = Call("POST", "/v2/sandboxes", CreateBody(kRules));
  EXPECT_EQ(made.status, 201) << made.body;
  ASSERT_EQ(manager_.creates.size(), 1u);
  EXPECT_EQ(manager_.creates[0].network.transforms.size(), 1u);
  EXPECT_TRUE(manager_.creates[0].network.by_gateway());
}

TEST_F(ApiTest, RulesAreShownAsGivenAndReplaced) {
  ASSERT_TRUE(secrets_->Create("key", secret::SecretText("hidden"), {}).has_value());
  manager_.Put(Running("i1"));
  const auto put = [this](const std::string& rules) {
    return Call("PUT", "/sandboxes/i1/network", Network(rules));
  };
  EXPECT_EQ(put(kRules).status, 204);
  for (const char* path : {"/sandboxes/i1", "/tinderbox/v1/sandboxes/i1"}) {
    const auto shown = Call("GET", path);
    EXPECT_EQ(boost::json::serialize(Json(shown).at("network").at("rules")), kRules) << path;
    EXPECT_FALSE(shown.body.contains("hidden"));
  }
  ExpectError(put(R"({"a.com":[{"transform":{"headers":{"X":"${e2b.secrets.none}"}}}]})"), 400,
              "'none'");
  EXPECT_EQ(manager_.Get("i1")->network.transforms.size(), 1u);
  EXPECT_EQ(put("{}").status, 204);
  EXPECT_FALSE(Json(Call("GET", "/sandboxes/i1")).as_object().contains("network"));
}

TEST_F(ApiTest, RulesThatCannotBeKeptAreRefusedByName) {
  manager_.Put(Running("i1"));
  for (const auto& [rules, words] : std::map<std::string, std::string>{
           {R"({"*":[]})", "'*'"},
           {R"([])", "rules"},
           {R"({"a.com":[{"transform":{"headers":{"Host":"x"}}}]})", "'Host'"},
           {R"({"a.com":[{"transform":{"headers":{"X":"${e2b.iam.tokens.aws}"}}}]})",
            "not supported"}}) {
    ExpectError(Call("PUT", "/sandboxes/i1/network", Network(rules)), 400, words);
    ExpectError(Call("POST", "/v2/sandboxes", CreateBody(rules)), 400, "network.rules");
  }
}

}  // namespace
}  // namespace tinderbox::api
