// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/awaitable.hpp>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace tinderbox::net {

// What coroutines of this component return. They throw nothing.
template <typename T = void>
using Task = boost::asio::awaitable<T>;
template <typename T = void>
using AsyncResult = boost::asio::awaitable<base::Result<T>>;

// The shortest end of a chunked body, "0\r\n\r\n". Boost.Beast's parser, once it has asked for more
// of a chunk's head, must not be given less than that: it would end the process by an assertion.
// Whoever sends anything more sends at least as much.
inline constexpr std::size_t kShortestLastChunk = 5;

// True where `a` and `b` are the same but for the case of ASCII letters.
bool EqualsIgnoreCase(std::string_view a, std::string_view b);

// Header fields in the order in which they came; names compare without regard to case. A value
// type.
class HeaderList {
 public:
  using Field = std::pair<std::string, std::string>;

  HeaderList() = default;
  HeaderList(std::initializer_list<Field> fields) : fields_(fields) {}

  void Add(std::string name, std::string value) {
    fields_.emplace_back(std::move(name), std::move(value));
  }
  // Replaces every field of that name by one.
  void Set(std::string name, std::string value);
  void Remove(std::string_view name);

  // The first value of that name.
  std::optional<std::string_view> Find(std::string_view name) const;
  // The same, "" where there is none.
  std::string_view Get(std::string_view name) const { return Find(name).value_or(""); }
  bool Has(std::string_view name) const { return Find(name).has_value(); }
  // True where some field of that name holds `token` in its comma-separated list (Connection,
  // Accept-Encoding without weights, …), without regard to case.
  bool HasToken(std::string_view name, std::string_view token) const;

  std::size_t size() const { return fields_.size(); }
  bool empty() const { return fields_.empty(); }
  auto begin() const { return fields_.begin(); }
  auto end() const { return fields_.end(); }

 private:
  std::vector<Field> fields_;
};

// The usual words for a status; "Unknown" for one that has none.
std::string_view StatusText(unsigned status);

// Percent-decodes `text`; '+' becomes a space where `plus_is_space` (query strings). No value where
// an escape is cut short or is not hexadecimal.
std::optional<std::string> PercentDecode(std::string_view text, bool plus_is_space = false);

// The query part of a target (without '?') as decoded pairs in order; broken escapes stay as they
// are.
std::vector<HeaderList::Field> ParseQuery(std::string_view query);

}  // namespace tinderbox::net
