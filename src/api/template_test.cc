// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Templates, in E2B's shapes and in ours, over real sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/api_test_fixture.h"
#include "api/template_json.h"
#include "api/template_name.h"

namespace tinderbox::api {
namespace {

using base::Code;

TEST(TemplateName, IsOneFormForAllSpellings) {
  for (const auto& [text, normal] :
       std::map<std::string, std::string>{{" Base ", "base"},
                                          {"mine:default", "mine"},
                                          {"mine:v1.2", "mine:v1.2"},
                                          {"tinderbox/mine", "mine"},
                                          {"tinderbox/mine:default", "mine"},
                                          {"TinderBox/A_b-c:X", "a_b-c:x"}}) {
    EXPECT_EQ(NormalTemplateName(text).value_or("?"), normal) << text;
  }
  for (const char* bad :
       {"", " ", "a b", "a:", ":v", "a:b:c", "a/b/c", "/a", "a/", "é", "other/a", "tinderbox/"}) {
    EXPECT_FALSE(NormalTemplateName(bad)) << bad;
  }
  EXPECT_FALSE(NormalTemplateName(std::string(257, 'a')));
  EXPECT_EQ(FullTemplateName("a:v"), "tinderbox/a:v");
  EXPECT_EQ(FullTemplateName("a"), "tinderbox/a:default");
}

TEST(TemplateJson, CountsEverySandboxThatWasMade) {
  sandbox::TemplateInfo info;
  info.sandboxes = 1;
  EXPECT_TRUE(TemplateJson(info).at("lastSpawnedAt").is_null());
  EXPECT_EQ(TemplateJson(info).at("spawnCount").as_int64(), 0);
  info.spawns = 7;
  info.last_spawned_at_ms = 1764000000123;
  EXPECT_EQ(TemplateJson(info).at("lastSpawnedAt").as_string(), "2025-11-24T16:00:00.123Z");
  EXPECT_EQ(TemplateDetailJson(info).at("spawnCount").as_int64(), 7);
}

TEST(TemplateJson, ABuildIsAUuid) {
  EXPECT_THAT(
      BuildIdOf("t1"),
      testing::MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  EXPECT_NE(BuildIdOf("t1"), BuildIdOf("t2"));
}

TEST_F(ApiTest, TemplatesAreListedWithoutSnapshots) {
  manager_.Put(Running("i1"));
  Call("POST", "/sandboxes/i1/snapshots", R"({"name":"mine"})");
  for (const char* target : {"/templates", "/v2/templates", "/templates?teamID=tinderbox"}) {
    const auto list = Json(Call("GET", target)).as_array();
    ASSERT_EQ(list.size(), 1u);
    EXPECT_EQ(list[0].at("aliases").as_array().at(0).as_string(), "base");
    EXPECT_EQ(list[0].at("names").as_array().at(0).as_string(), "tinderbox/base");
    EXPECT_EQ(list[0].at("buildStatus").as_string(), "ready");
  }
  ExpectError(Call("GET", "/templates?teamID=other"), 400, "'teamID'");
  const auto ours = Json(Call("GET", "/tinderbox/v1/templates")).as_array();
  ASSERT_EQ(ours.size(), 2u);
  EXPECT_TRUE(ours[0].at("isSnapshot").as_bool());
  EXPECT_TRUE(ours[0].at("hasMemory").as_bool());
  EXPECT_EQ(ours[0].at("sourceSandbox").as_string(), "i1");
  EXPECT_TRUE(ours[0].at("misfit").is_null());
}

TEST_F(ApiTest, OneTemplateIsFoundByAnyOfItsNames) {
  EXPECT_EQ(Json(Call("GET", "/templates/aliases/base")).at("templateID").as_string(), "t1");
  ExpectError(Call("GET", "/templates/aliases/nope"), 404);
  ExpectError(Call("GET", "/templates/aliases/other%2Fbase"), 400);
  for (const char* target :
       {"/templates/t1", "/templates/base", "/templates/tinderbox%2Fbase%3Adefault"}) {
    const auto body = Json(Call("GET", target)).as_object();
    EXPECT_EQ(body.at("templateID").as_string(), "t1");
    EXPECT_EQ(body.at("builds").as_array().size(), 1u);
  }
  EXPECT_EQ(Json(Call("GET", "/tinderbox/v1/templates/base")).at("diskSizeMB").as_int64(), 2048);
  const auto tags = Json(Call("GET", "/templates/base/tags")).as_array();
  ASSERT_EQ(tags.size(), 1u);
  EXPECT_EQ(tags[0].at("tag").as_string(), "default");
  EXPECT_EQ(tags[0].at("buildID").as_string(), BuildIdOf("t1"));
  ExpectError(Call("GET", "/templates/nope/tags"), 404);
}

TEST_F(ApiTest, ATemplateInUseIsNotRemoved) {
  manager_.Put(Running("i1"));
  Call("POST", "/sandboxes/i1/snapshots", R"({"name":"mine"})");
  manager_.fail_change =
      base::Error(Code::kFailedPrecondition,
                  "cannot delete template 'mine' because there are running sandboxes using it");
  ExpectError(Call("DELETE", "/templates/mine"), 400, "because there are running sandboxes");
  manager_.fail_change.reset();
  // E2B's command line sends the name with everything; a body does no harm.
  EXPECT_EQ(Call("DELETE", "/templates/tinderbox%2Fmine%3Adefault", "{}").status, 204);
  ExpectError(Call("DELETE", "/templates/mine"), 404);
}

TEST_F(ApiTest, VerifyAndPruneTellWhatTheyFound) {
  manager_.Put(Running("i1"));
  Call("POST", "/sandboxes/i1/snapshots");
  EXPECT_EQ(Call("POST", "/tinderbox/v1/templates/base/verify").status, 200);
  const auto damaged = Call("POST", "/tinderbox/v1/templates/snap0/verify");
  ExpectError(damaged, 500, "memory.img");
  EXPECT_EQ(Json(damaged).at("cause").as_string(), "data_loss");
  ExpectError(Call("POST", "/tinderbox/v1/templates/base/verify", R"({"deep":true})"), 400);
  const auto pruned = Json(Call("POST", "/tinderbox/v1/prune"));
  EXPECT_EQ(pruned.at("freedBytes").to_number<int>(), 4096);
  EXPECT_EQ(pruned.at("removed").as_array().size(), 1u);
}

}  // namespace
}  // namespace tinderbox::api
