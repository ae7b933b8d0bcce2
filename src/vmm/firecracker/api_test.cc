// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/firecracker/api.h"

#include <gtest/gtest.h>

#include <string>

namespace tinderbox::vmm::firecracker {
namespace {

TEST(FaultMessage, ApplicationError) {
  EXPECT_EQ(FaultMessage(R"({"fault_message":"The kernel file cannot be opened: No such file"})"),
            "The kernel file cannot be opened: No such file");
}

TEST(FaultMessage, HttpLayerErrorWithARawLineEnd) {
  EXPECT_EQ(
      FaultMessage("{ \"error\": \"Request payload too large.\nAll previous requests dropped.\" }"),
      "Request payload too large. All previous requests dropped.");
}

TEST(FaultMessage, NeverEmptyNeverLongNeverControl) {
  for (const std::string& body :
       {std::string(), std::string("{}"), std::string("null"), std::string("["),
        std::string("\"error\""), std::string(R"({"error":})"),
        std::string(R"({"fault_message":5})"), std::string(R"({"fault_message":""})"),
        std::string(100000, 'x'), std::string("\x1b[31mred\0\xff", 10),
        std::string(R"("error": " \t " x)"), std::string(R"({"fault_message":" \n "})"),
        "{\"error\":\"" + std::string(5000, '\n')}) {
    const std::string message = FaultMessage(body);
    EXPECT_FALSE(message.empty());
    EXPECT_LT(message.size(), 1100U);
    EXPECT_EQ(message.find_first_of(std::string("\0\x1b\n", 3)), std::string::npos) << message;
  }
}

TEST(ParseState, TheThreeStates) {
  EXPECT_EQ(ParseState(R"({"id":"a","state":"Not started"})").value(), VmState::kNotStarted);
  EXPECT_EQ(ParseState(R"({"id":"a","state":"Running"})").value(), VmState::kRunning);
  EXPECT_EQ(ParseState(R"({"id":"a","state":"Paused"})").value(), VmState::kPaused);
}

TEST(ParseState, AnythingElseIsDataLoss) {
  for (const char* body : {"", "{", "[]", "5", "{}", R"({"state":5})", R"({"state":"running"})"}) {
    const auto state = ParseState(body);
    ASSERT_FALSE(state) << body;
    EXPECT_EQ(state.error().code(), base::Code::kDataLoss) << body;
  }
}

}  // namespace
}  // namespace tinderbox::vmm::firecracker
