// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "egress/transform.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json.hpp>

namespace tinderbox::egress {
namespace {

using base::Code;
using testing::ElementsAre;
using testing::HasSubstr;

base::Result<Transforms> Read(const std::string& json) {
  return TransformsFromJson(boost::json::parse(json).as_object());
}
std::string Rules(const std::string& headers) {
  return R"({"a.example":[{"transform":{"headers":)" + headers + "}}]}";
}

base::Result<> Shout(std::string_view name, std::string& to) {
  if (name == "gone") return base::Fail(Code::kNotFound, "secret 'gone' not found");
  to.append("<").append(name).append(">");
  return {};
}

TEST(Transform, SecretsTakeTheirPlaces) {
  const auto value = HeaderValue::Parse("Bearer ${e2b.secrets.My-Key}, ${x} ${e2b.secrets.b}");
  ASSERT_TRUE(value.has_value()) << value.error().ToString();
  EXPECT_THAT(value->secrets(), ElementsAre("my-key", "b"));
  EXPECT_EQ(value->Fill(Shout).value(), "Bearer <my-key>, ${x} <b>");
  EXPECT_EQ(HeaderValue::Parse("plain")->Fill(Shout).value(), "plain");
  EXPECT_EQ(HeaderValue::Parse("")->Fill(Shout).value(), "");
  const auto gone = HeaderValue::Parse("x ${e2b.secrets.gone}")->Fill(Shout);
  EXPECT_EQ(gone.error().code(), Code::kNotFound);
}

TEST(Transform, WhatNoValueCanBe) {
  for (const std::string& text :
       {std::string("a\r\nEvil: b"), std::string("a\0b", 3), std::string(8193, 'x'),
        std::string("${e2b.secrets.}"), std::string("${e2b.secrets.a b}"),
        std::string("${e2b.secrets.a"), std::string("${e2b.iam.aws}"), std::string("${e2b.x}")}) {
    EXPECT_EQ(HeaderValue::Parse(text).error().code(), Code::kInvalidArgument) << text;
  }
  EXPECT_THAT(HeaderValue::Parse("${e2b.iam.tokens.aws}").error().message(),
              HasSubstr("not supported"));
}

TEST(Transform, ReadsAndShowsWhatWasGiven) {
  const std::string json =
      R"({"api.example.com":[{"transform":{"headers":{"Authorization":"${e2b.secrets.k}"}}},)"
      R"({"transform":{"headers":{"authorization":"second","X":"y"}}}],)"
      R"("*.example.com":[]})";
  const auto transforms = Read(json);
  ASSERT_TRUE(transforms.has_value()) << transforms.error().ToString();
  EXPECT_EQ(boost::json::serialize(TransformsToJson(*transforms)), json);
  EXPECT_THAT(SecretsOf(*transforms), ElementsAre("k"));
  const auto filled = FindTransform(*transforms, "api.example.com")->Fill(Shout).value();
  EXPECT_EQ(filled.size(), 2u);
  EXPECT_EQ(filled.Get("Authorization"), "second");
  EXPECT_TRUE(Read("{}")->empty());
  EXPECT_TRUE(Read(R"({"a.example":[{}]})")->front().rules.front().empty());
}

TEST(Transform, TheExactNameBeatsTheLongestWildcard) {
  const Transforms transforms =
      Read(R"({"*.com":[],"*.example.com":[],"a.b.example.com":[],"*.b.example.com":[]})").value();
  const auto found = [&](std::string_view name) {
    const Transform* transform = FindTransform(transforms, name);
    return transform == nullptr ? std::string() : transform->host.text();
  };
  EXPECT_EQ(found("a.b.example.com"), "a.b.example.com");
  EXPECT_EQ(found("c.b.example.com"), "*.b.example.com");
  EXPECT_EQ(found("b.example.com"), "*.example.com");
  EXPECT_EQ(found("example.com"), "*.com");
  EXPECT_EQ(found("com"), "");
  EXPECT_EQ(found(""), "");
}

TEST(Transform, WhatIsRefused) {
  for (const std::string& json : {std::string(R"({"*":[]})"),
                                  std::string(R"({"192.0.2.1":[]})"),
                                  std::string(R"({"a..b":[]})"),
                                  std::string(R"({"a.example":[],"A.example":[]})"),
                                  std::string(R"({"a.example":{}})"),
                                  std::string(R"({"a.example":[1]})"),
                                  std::string(R"({"a.example":[{"transform":1}]})"),
                                  std::string(R"({"a.example":[{"other":{}}]})"),
                                  std::string(R"({"a.example":[{"transform":{"body":"x"}}]})"),
                                  std::string(R"({"a.example":[{"transform":{"headers":[]}}]})"),
                                  Rules(R"({"X":1})"),
                                  Rules(R"({"X y":"1"})"),
                                  Rules(R"({"":"1"})"),
                                  Rules(R"({"X\r\nY":"1"})"),
                                  Rules(R"({"x":"1","X":"2"})"),
                                  Rules(R"({"host":"1"})"),
                                  Rules(R"({"Content-length":"1"})"),
                                  Rules(R"({"Transfer-Encoding":"1"})"),
                                  Rules(R"({"connection":"1"})"),
                                  Rules(R"({"Upgrade":"1"})"),
                                  Rules(R"({"X":"a\nb"})")}) {
    const auto read = Read(json);
    ASSERT_FALSE(read.has_value()) << json;
    EXPECT_EQ(read.error().code(), Code::kInvalidArgument) << json;
  }
  EXPECT_THAT(Read(Rules(R"({"X":"${e2b.iam.t}"})")).error().message(), HasSubstr("a.example"));
  std::string many = "{";
  for (int i = 0; i < 65; ++i) many += "\"n" + std::to_string(i) + ".example\":[],";
  many.back() = '}';
  EXPECT_FALSE(Read(many).has_value());
  std::string fields = "{";
  for (int i = 0; i < 65; ++i) fields += "\"X" + std::to_string(i) + "\":\"\",";
  fields.back() = '}';
  EXPECT_FALSE(Read(Rules(fields)).has_value());
}

}  // namespace
}  // namespace tinderbox::egress
