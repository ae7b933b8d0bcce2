// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/signed_url.h"

#include <gtest/gtest.h>

namespace tinderbox::api {
namespace {

net::RequestHead Head(std::string method, std::string query, std::string path = "/files") {
  net::RequestHead head;
  head.method = std::move(method);
  head.path = std::move(path);
  head.query = std::move(query);
  return head;
}

std::vector<sandbox::SandboxInfo> Two() {
  std::vector<sandbox::SandboxInfo> two(2);
  two[0].id = "one";
  two[0].access_token = "secret";
  two[1].id = "two";
  two[1].access_token = "other";
  return two;
}

// Computed with another program: SHA-256 of "/tmp/a b:read:user:secret", and of
// "x:write::other:1700000000".
constexpr char kRead[] = "v1_3sbGJfcrZh4j5n5D9y/dyvAyjFDwHr3j8gM7LlxB/FI";
constexpr char kWrite[] = "v1_3hkn6uET9V2eXNOTM1WpaSTee7HG7EpXdKaj5WamL+A";

std::string Escaped(std::string_view signature) {
  std::string out;
  for (const char c : signature) {
    if (c == '+') {
      out += "%2B";
    } else if (c == '/') {
      out += "%2F";
    } else {
      out += c;
    }
  }
  return out;
}

TEST(SignedUrl, TheSignerIsFound) {
  const std::string read = "path=%2Ftmp%2Fa+b&username=user&signature=" + Escaped(kRead);
  EXPECT_EQ(SignerOf(Head("GET", read), Two()).value(), "one");
  const std::string write =
      "path=x&signature=" + Escaped(kWrite) + "&signature_expiration=1700000000";
  EXPECT_EQ(SignerOf(Head("POST", write), Two()).value(), "two");
  net::RequestHead preflight = Head("OPTIONS", write);
  preflight.headers.Add("Access-Control-Request-Method", "POST");
  EXPECT_EQ(SignerOf(preflight, Two()).value(), "two");
}

TEST(SignedUrl, WhatNobodySignedIsRefused) {
  const std::string read = "path=%2Ftmp%2Fa+b&username=user&signature=" + Escaped(kRead);
  EXPECT_FALSE(SignerOf(Head("POST", read), Two()).has_value()) << "signed for reading";
  EXPECT_FALSE(SignerOf(Head("GET", read + "&signature_expiration=9999999999"), Two()).has_value());
  EXPECT_FALSE(SignerOf(Head("GET", "path=%2Fetc&username=user&signature=" + Escaped(kRead)), Two())
                   .has_value());
  std::vector<sandbox::SandboxInfo> without(1);
  const auto refused = SignerOf(Head("GET", read), without);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), base::Code::kUnauthenticated);
}

TEST(SignedUrl, OnlyFilesWithASignature) {
  EXPECT_TRUE(IsSignedFileRequest(Head("GET", "path=a&signature=v1_x")));
  EXPECT_FALSE(IsSignedFileRequest(Head("GET", "path=a")));
  EXPECT_FALSE(IsSignedFileRequest(Head("GET", "signature=v1_x", "/sandboxes")));
}

}  // namespace
}  // namespace tinderbox::api
