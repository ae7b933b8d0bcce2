// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/idempotency.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace tinderbox::api {
namespace {

Answer Say(unsigned status) { return TextAnswer(status, "text/plain", "x"); }

TEST(IdempotencyCache, AnAnswerIsRepeatedAndAFailureIsNot) {
  IdempotencyCache cache;
  int ran = 0;
  const auto run = [&](unsigned status) {
    return cache
        .Run("key", "request",
             [&] {
               ++ran;
               return Say(status);
             })
        .status;
  };
  EXPECT_EQ(run(500), 500u);
  EXPECT_EQ(run(201), 201u);
  EXPECT_EQ(run(500), 201u);
  EXPECT_EQ(ran, 2);
  EXPECT_EQ(cache.Run("key", "other", [] { return Say(200); }).status, 422u);
}

TEST(IdempotencyCache, WorkThatThrowsFreesTheKey) {
  IdempotencyCache cache;
  EXPECT_THROW(
      cache.Run("key", "request", []() -> Answer { throw std::runtime_error("no memory"); }),
      std::runtime_error);
  EXPECT_EQ(cache.Run("key", "request", [] { return Say(201); }).status, 201u);
}

TEST(IdempotencyCache, AKeyInUseIsRefused) {
  IdempotencyCache cache;
  const Answer outer = cache.Run("key", "request", [&] {
    EXPECT_EQ(cache.Run("key", "request", [] { return Say(201); }).status, 409u);
    return Say(200);
  });
  EXPECT_EQ(outer.status, 200u);
}

}  // namespace
}  // namespace tinderbox::api
