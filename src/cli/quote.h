// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace tinderbox::cli {

// `text` as one word for a POSIX shell: as it is where nothing in it is special, else in single
// quotes. `eval "export X=$(quoted)"` yields `text` again.
std::string ShellQuote(std::string_view text);

// Percent-encodes everything but RFC 3986's unreserved characters, for a path segment or query
// value.
std::string UrlEncode(std::string_view text);

// `text` with control characters (escape sequences that a sandbox may have put into a name) as '?',
// so that it can be shown on a terminal. Both kinds: ASCII's, and those from U+0080 to U+009F,
// which some terminals obey, too. Those in `keep` stay.
std::string Printable(std::string_view text, std::string_view keep = "");
// The same for text of many lines: line ends ("\n", "\r\n") and tabs stay.
std::string PrintableLines(std::string_view text);

}  // namespace tinderbox::cli
