// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/error_map.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <map>
#include <string>

namespace tinderbox::api {
namespace {

using base::Code;

TEST(ErrorMap, EveryCodeHasItsStatus) {
  const std::map<Code, unsigned> table = {
      {Code::kInvalidArgument, 400},   {Code::kUnauthenticated, 401},
      {Code::kPermissionDenied, 403},  {Code::kNotFound, 404},
      {Code::kAlreadyExists, 409},     {Code::kFailedPrecondition, 409},
      {Code::kResourceExhausted, 429}, {Code::kAborted, 409},
      {Code::kUnavailable, 503},       {Code::kDeadlineExceeded, 504},
      {Code::kCancelled, 499},         {Code::kUnimplemented, 501},
      {Code::kDataLoss, 500},          {Code::kInternal, 500},
  };
  // A code that was added and is missing here is missing in the table of the API too.
  ASSERT_EQ(table.size(), static_cast<std::size_t>(Code::kInternal) + 1);
  for (const auto& [code, status] : table) {
    EXPECT_EQ(HttpStatus(code), status) << base::CodeName(code);
    const Answer answer = ErrorAnswer(code, "do it on 'x'", "Do this.");
    EXPECT_EQ(answer.status, status);
    const auto body = boost::json::parse(answer.body);
    EXPECT_EQ(body.at("code").as_int64(), status);
    EXPECT_EQ(body.at("message").as_string(), "do it on 'x'");
    EXPECT_EQ(body.at("cause").as_string(), base::CodeName(code));
    EXPECT_EQ(body.at("remedy").as_string(), "Do this.");
    EXPECT_EQ(answer.headers.Get("Should-Retry"), MayRetry(code) ? "" : "false");
  }
}

TEST(ErrorMap, TheErrnoIsInTheMessage) {
  const Answer answer = ErrorAnswer(base::Error::FromErrno(ENOSPC, "write 'x'"));
  EXPECT_EQ(answer.status, 507u) << "not 429: no limit of the API is reached";
  EXPECT_NE(answer.body.find("No space left"), std::string::npos);
  EXPECT_EQ(answer.body.find("remedy"), std::string::npos);
  EXPECT_EQ(answer.headers.Get("Should-Retry"), "false");
}

}  // namespace
}  // namespace tinderbox::api
