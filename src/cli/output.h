// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/value.hpp>
#include <string>
#include <string_view>

#include "base/error.h"

namespace tinderbox::cli {

// "tinderbox: <message>" and, indented beneath it, the remedy; to standard error.
void PrintError(const base::Error& error);

// Text to standard output, whole; a reader that has gone is no error, other failures are.
base::Result<> Print(std::string_view text);
// JSON with two spaces of indentation and a newline at the end.
base::Result<> PrintJson(const boost::json::value& value);
std::string PrettyJson(const boost::json::value& value);

// Colours on standard output: only on a terminal that has them, and not where NO_COLOR is set.
bool UseColour();
enum class Colour { kGreen, kYellow, kRed };
// `text` in that colour, or as it is where there are none.
std::string Coloured(Colour colour, std::string_view text);

}  // namespace tinderbox::cli
