// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "base/error.h"
#include "sandbox/manager.h"

namespace tinderbox::api {

// Which of E2B's two create calls: they differ in their defaults.
enum class Generation {
  kV1,  // POST /sandboxes: timeout 15 s
  kV2,  // POST /v2/sandboxes: timeout 300 s
};

inline constexpr std::int64_t kMaxTimeoutSeconds = std::int64_t{365} * 24 * 3600;

// The body of a create call. Everything in it is either honoured or refused with kInvalidArgument
// that names the field: a caller who asks for a rule that is not enforced must learn of it.
//
// Ours, beyond E2B's: `memoryMB`, `cpuCount` and `cold`.
base::Result<sandbox::CreateRequest> ParseCreate(std::string_view body, Generation generation);

}  // namespace tinderbox::api
