// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "api/answer.h"
#include "base/error.h"

// The one place where an error becomes HTTP.
namespace tinderbox::api {

unsigned HttpStatus(base::Code code);

// Whether a client that retries by itself may try again at once. Our refusals are deliberate: told
// "Should-Retry: false", E2B's Python client surfaces them instead of asking four times.
bool MayRetry(base::Code code);

// {code, message, cause, remedy?}: `code` is the HTTP status (the SDKs compare the two), `cause`
// the name of the base::Code.
Answer ErrorAnswer(const base::Error& error);
Answer ErrorAnswer(base::Code code, std::string message, std::string remedy = {});

}  // namespace tinderbox::api
