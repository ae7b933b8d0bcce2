// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// API keys, over real sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "api/api_test_fixture.h"

namespace tinderbox::api {
namespace {

using testing::HasSubstr;

class KeyTest : public ApiTest {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "only root on the unix socket manages keys";
    ApiTest::SetUp();
  }
  void TearDown() override {
    if (server_) ApiTest::TearDown();
  }
  boost::json::object Make(const std::string& body) {
    const auto made = CallAsRoot("POST", "/tinderbox/v1/api-keys", body);
    EXPECT_EQ(made.status, 201) << made.body;
    return Json(made).as_object();
  }
  int StatusWith(const boost::json::object& made) {
    const std::string key(made.at("key").as_string());
    return CallWithoutKey("GET", "/v2/sandboxes", {{"X-API-KEY", key}}).status;
  }
  boost::json::object Listed(const boost::json::object& made) {
    for (const auto& each : Json(CallAsRoot("GET", "/tinderbox/v1/api-keys")).as_array()) {
      if (each.at("id") == made.at("id")) return each.as_object();
    }
    return {};
  }
  static std::string PathOf(const boost::json::object& made) {
    return "/tinderbox/v1/api-keys/" + std::string(made.at("id").as_string());
  }
};

TEST_F(KeyTest, KeysAreListedWithTheirUseAndNeverShown) {
  const auto made = Make(R"({"label":"laptop"})");
  EXPECT_TRUE(Listed(made).at("lastUsedAt").is_null());
  EXPECT_TRUE(Listed(made).at("expiresAt").is_null());
  EXPECT_EQ(StatusWith(made), 200);
  const auto listed = Listed(made);
  EXPECT_EQ(listed.at("label").as_string(), "laptop");
  EXPECT_TRUE(listed.at("lastUsedAt").is_string());
  EXPECT_FALSE(listed.at("expired").as_bool());
  EXPECT_THAT(CallAsRoot("GET", "/tinderbox/v1/api-keys").body, testing::Not(HasSubstr("e2b_")));
}

TEST_F(KeyTest, ARemovedKeyIsRefusedAtOnce) {
  const auto made = Make("{}");
  EXPECT_EQ(StatusWith(made), 200);
  EXPECT_EQ(CallAsRoot("DELETE", PathOf(made)).status, 204);
  EXPECT_EQ(StatusWith(made), 401);
  ExpectError(CallAsRoot("DELETE", PathOf(made)), 404, "not found");
  EXPECT_TRUE(Listed(made).empty());
}

TEST_F(KeyTest, AnExpiredKeyIsRefused) {
  const auto made = Make(R"({"expiresIn":1})");
  EXPECT_TRUE(made.at("expiresAt").is_string());
  EXPECT_EQ(StatusWith(made), 200);
  // Not even for as long as a good key is taken on trust.
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  const std::string key(made.at("key").as_string());
  ExpectError(CallWithoutKey("GET", "/v2/sandboxes", {{"X-API-KEY", key}}), 401, "expired");
  EXPECT_TRUE(Listed(made).at("expired").as_bool());
  ExpectError(CallAsRoot("POST", PathOf(made) + "/rotate"), 409, "expired");
}

TEST_F(KeyTest, ARotatedKeyTakesOverLabelAndExpiry) {
  const auto first = Make(R"({"label":"ci","expiresIn":3600})");
  EXPECT_EQ(StatusWith(first), 200);
  const auto rotate = [&](const boost::json::object& made, const std::string& body) {
    const auto answer = CallAsRoot("POST", PathOf(made) + "/rotate", body);
    EXPECT_EQ(answer.status, 201) << answer.body;
    return Json(answer).as_object();
  };
  const auto second = rotate(first, "");
  EXPECT_EQ(second.at("label").as_string(), "ci");
  EXPECT_EQ(second.at("expiresAt"), first.at("expiresAt"));
  EXPECT_EQ(StatusWith(first), 401);
  EXPECT_EQ(StatusWith(second), 200);
  const auto third = rotate(second, R"({"graceSeconds":60})");
  EXPECT_EQ(StatusWith(second), 200);
  EXPECT_EQ(StatusWith(third), 200);
  EXPECT_LT(Listed(second).at("expiresAt").as_string(), Listed(third).at("expiresAt").as_string());
  ExpectError(CallAsRoot("POST", PathOf(first) + "/rotate"), 404);
}

TEST_F(KeyTest, NobodyButRootManagesKeys) {
  for (const auto& [method, target] : std::vector<std::pair<std::string, std::string>>{
           {"GET", ""}, {"POST", ""}, {"DELETE", "/x"}, {"POST", "/x/rotate"}}) {
    ExpectError(Call(method, "/tinderbox/v1/api-keys" + target), 403, "root");
  }
  for (const char* bad : {R"({"expiresIn":0})", R"({"expiresIn":"1d"})", R"({"ttl":5})"}) {
    EXPECT_EQ(CallAsRoot("POST", "/tinderbox/v1/api-keys", bad).status, 400) << bad;
  }
}

}  // namespace
}  // namespace tinderbox::api
