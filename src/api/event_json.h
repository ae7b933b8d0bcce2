// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <string_view>

#include "sandbox/event.h"

namespace tinderbox::api {

// What E2B puts before the kind in an event's type: "sandbox.lifecycle.created".
inline constexpr std::string_view kEventPrefix = "sandbox.lifecycle.";

// An event as E2B tells it (https://e2b.dev/docs/sandbox/lifecycle-events-api).
boost::json::object EventJson(const sandbox::Event& event);
// The same for people: "sandbox i1 paused: memory and disk are kept".
std::string EventWords(const sandbox::Event& event);

}  // namespace tinderbox::api
