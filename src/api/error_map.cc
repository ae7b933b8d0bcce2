// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/error_map.h"

#include <boost/json.hpp>
#include <cerrno>
#include <utility>

#include "api/text.h"

namespace tinderbox::api {

using base::Code;

unsigned HttpStatus(Code code) {
  switch (code) {
    case Code::kInvalidArgument: return 400;
    case Code::kUnauthenticated: return 401;
    case Code::kPermissionDenied: return 403;
    case Code::kNotFound: return 404;
    case Code::kAlreadyExists: return 409;
    case Code::kFailedPrecondition: return 409;
    case Code::kAborted: return 409;
    case Code::kResourceExhausted: return 429;
    case Code::kCancelled: return 499;
    case Code::kInternal: return 500;
    case Code::kDataLoss: return 500;
    case Code::kUnimplemented: return 501;
    case Code::kUnavailable: return 503;
    case Code::kDeadlineExceeded: return 504;
  }
  return 500;
}

bool MayRetry(Code code) { return code == Code::kUnavailable || code == Code::kAborted; }

namespace {

boost::json::object Body(unsigned status, const base::Error& error) {
  boost::json::object body;
  body["code"] = status;
  body["message"] = ValidUtf8(error.ToString());
  body["cause"] = base::CodeName(error.code());
  if (!error.remedy().empty()) body["remedy"] = ValidUtf8(error.remedy());
  return body;
}

}  // namespace

boost::json::object ErrorJson(const base::Error& error) {
  return Body(HttpStatus(error.code()), error);
}

Answer ErrorAnswer(const base::Error& error) {
  if (error.errno_value() == ENOSPC || error.errno_value() == EDQUOT) return Refusal(507, error);
  Answer answer = JsonAnswer(HttpStatus(error.code()), ErrorJson(error));
  if (!MayRetry(error.code())) answer.headers.Add("Should-Retry", "false");
  if (error.code() == Code::kUnavailable) answer.headers.Add("Retry-After", "1");
  return answer;
}

Answer Refusal(unsigned status, const base::Error& error, std::string_view error_code) {
  boost::json::object body = Body(status, error);
  if (!error_code.empty()) body["error_code"] = error_code;
  Answer answer = JsonAnswer(status, std::move(body));
  answer.headers.Add("Should-Retry", "false");
  return answer;
}

Answer ErrorAnswer(Code code, std::string message, std::string remedy) {
  return ErrorAnswer(base::Error(code, std::move(message)).WithRemedy(std::move(remedy)));
}

}  // namespace tinderbox::api
