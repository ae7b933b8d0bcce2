// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The routes of secrets.
#include <gtest/gtest.h>

#include <filesystem>

#include "api/api_test_fixture.h"

namespace tinderbox::api {
namespace {

class SecretRoutesTest : public ApiTest {
 protected:
  // Every answer about secrets, to see that no value is ever in one.
  net::HttpResponse Ask(const std::string& method, const std::string& target,
                        const std::string& body = {}) {
    auto response = Call(method, target, body);
    EXPECT_FALSE(response.body.contains("hidden")) << response.body;
    return response;
  }
};

TEST_F(SecretRoutesTest, ALifeOfOne) {
  const auto made =
      Ask("POST", "/secrets", R"({"name":"API-Key","value":"hidden-1","metadata":{"a":"b"}})");
  EXPECT_EQ(made.status, 201) << made.body;
  const auto info = Json(made).as_object();
  EXPECT_EQ(info.size(), 6u);
  EXPECT_TRUE(std::string_view(info.at("secretID").as_string()).starts_with("sec_"));
  EXPECT_EQ(info.at("name").as_string(), "api-key");
  EXPECT_EQ(info.at("currentVersion").as_int64(), 1);
  EXPECT_EQ(info.at("metadata").as_object().at("a").as_string(), "b");
  EXPECT_EQ(info.at("createdAt"), info.at("updatedAt"));
  const std::string id(info.at("secretID").as_string());

  for (const std::string& name : {id, std::string("api-key"), std::string("API-KEY")}) {
    EXPECT_EQ(Json(Ask("GET", "/secrets/" + name)), boost::json::value(info)) << name;
  }
  const auto second = Ask("POST", "/secrets/api-key", R"({"value":"hidden-2"})");
  EXPECT_EQ(second.status, 200);
  EXPECT_EQ(Json(second).at("currentVersion").as_int64(), 2);
  EXPECT_EQ(Json(second).at("metadata"), info.at("metadata"));
  EXPECT_EQ(secrets_->Value("api-key")->Reveal(), "hidden-2");

  const auto gone = Ask("DELETE", "/secrets/" + id);
  EXPECT_EQ(gone.status, 204);
  EXPECT_EQ(gone.body, "");
  ExpectError(Ask("DELETE", "/secrets/" + id), 404, "not found");
  ExpectError(Ask("GET", "/secrets/api-key"), 404, "not found");
  ExpectError(Ask("POST", "/secrets/api-key", R"({"value":"hidden"})"), 404, "not found");
}

TEST_F(SecretRoutesTest, MetadataIsAlwaysThere) {
  const auto made = Ask("POST", "/secrets", R"({"name":"a","value":"hidden"})");
  EXPECT_TRUE(Json(made).at("metadata").as_object().empty());
}

TEST_F(SecretRoutesTest, BadRequestsAreToldWithoutTheValue) {
  const std::string value = R"("value":"hidden")";
  ExpectError(Ask("POST", "/secrets", "{" + value + "}"), 400, "'name' is required");
  ExpectError(Ask("POST", "/secrets", R"({"name":"a"})"), 400, "'value' is required");
  ExpectError(Ask("POST", "/secrets", R"({"name":"a b",)" + value + "}"), 400, "name");
  ExpectError(Ask("POST", "/secrets", R"({"name":"sec_a",)" + value + "}"), 400, "sec_");
  ExpectError(Ask("POST", "/secrets", R"({"name":"a","value":["hidden"]})"), 400, "'value'");
  ExpectError(Ask("POST", "/secrets", R"({"name":"a","value":"hidden\nline"})"), 400, "line break");
  ExpectError(Ask("POST", "/secrets", R"({"name":"a","value":"hidden)"), 400, "no JSON");
  ExpectError(Ask("POST", "/secrets", R"({"name":"a","metadata":{"x":1},)" + value + "}"), 400,
              "metadata");
  ExpectError(Ask("POST", "/secrets", R"({"name":"a","more":1,)" + value + "}"), 400, "'more'");
  EXPECT_EQ(Ask("POST", "/secrets", R"({"name":"a",)" + value + "}").status, 201);
  ExpectError(Ask("POST", "/secrets", R"({"name":"A",)" + value + "}"), 409, "'a' exists");
  ExpectError(Ask("POST", "/secrets/a", R"({"name":"a",)" + value + "}"), 400, "'name'");
}

TEST_F(SecretRoutesTest, PagesInTheOrderOfNames) {
  EXPECT_EQ(Ask("GET", "/secrets").body, "[]");
  for (const char* name : {"c", "a", "b"}) {
    Ask("POST", "/secrets", std::string(R"({"value":"hidden","name":")") + name + "\"}");
  }
  const auto first = Ask("GET", "/secrets?limit=2");
  ASSERT_EQ(Json(first).as_array().size(), 2u);
  EXPECT_EQ(Json(first).as_array()[0].at("name").as_string(), "a");
  const std::string token = Header(first, "X-Next-Token");
  ASSERT_FALSE(token.empty());
  const auto last = Ask("GET", "/secrets?limit=2&nextToken=" + token);
  ASSERT_EQ(Json(last).as_array().size(), 1u);
  EXPECT_EQ(Json(last).as_array()[0].at("name").as_string(), "c");
  EXPECT_EQ(Header(last, "X-Next-Token"), "");
  EXPECT_EQ(Header(Ask("GET", "/secrets?limit=3"), "X-Next-Token"), "");
  ExpectError(Ask("GET", "/secrets?limit=0"), 400, "limit");
  ExpectError(Ask("GET", "/secrets?limit=101"), 400, "limit");
  ExpectError(Ask("GET", "/secrets?nextToken=%20"), 400, "nextToken");
}

TEST_F(SecretRoutesTest, OnlyWithAKey) {
  ExpectError(CallWithoutKey("GET", "/secrets"), 401);
  ExpectError(CallWithoutKey("POST", "/secrets", {}, R"({"name":"a","value":"hidden"})"), 401);
}

TEST_F(SecretRoutesTest, ALostKeyIsTold) {
  secret::Vault earlier(store_->Secrets(), dir_ + "/secrets.key");
  ASSERT_TRUE(earlier.Create("a", secret::SecretText("hidden"), {}).has_value());
  std::filesystem::remove(dir_ + "/secrets.key");
  const auto response = Ask("POST", "/secrets", R"({"name":"b","value":"hidden"})");
  ExpectError(response, 500, "is gone");
  EXPECT_TRUE(Json(response).as_object().contains("remedy"));
  EXPECT_EQ(Ask("GET", "/secrets").status, 200);
}

}  // namespace
}  // namespace tinderbox::api
