// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <string_view>

#include "api/answer.h"
#include "base/error.h"

// The one place where an error becomes HTTP.
namespace tinderbox::api {

unsigned HttpStatus(base::Code code);

// Whether a client that retries by itself may try again at once. Our refusals are deliberate: told
// "Should-Retry: false", E2B's Python client surfaces them instead of asking four times.
bool MayRetry(base::Code code);

// The body of an error's answer. {code, message, cause, remedy?}: `code` is the HTTP status (the
// SDKs compare the two), `cause` the name of the base::Code.
boost::json::object ErrorJson(const base::Error& error);
Answer ErrorAnswer(const base::Error& error);
Answer ErrorAnswer(base::Code code, std::string message, std::string remedy = {});

// The same with a status of its own, for a refusal that must surface at once whatever its kind:
// "Should-Retry: false". `error_code` is E2B's word for it, where it has one.
Answer Refusal(unsigned status, const base::Error& error, std::string_view error_code = {});

}  // namespace tinderbox::api
