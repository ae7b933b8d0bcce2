// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

// Host names, and the patterns by which rules speak of them.
namespace tinderbox::egress {

// `name` as we compare it: lower case, without the root's dot. Nothing for what is no host name
// (RFC 1123 §2.1, underscores allowed as clients allow them): an address, an empty label, more than
// 253 characters, anything but ASCII.
std::optional<std::string> NormalHostName(std::string_view name);

// "example.com", that name alone; or "*.example.com", every name below it at any depth, but not
// itself.
class DomainPattern {
 public:
  // kInvalidArgument says why: a bare "*", a wildcard anywhere but in front, no host name.
  static base::Result<DomainPattern> Parse(std::string_view text);

  // `name` must be normal.
  bool Matches(std::string_view name) const;
  bool is_wildcard() const { return wildcard_; }
  std::string text() const { return wildcard_ ? "*." + name_ : name_; }
  bool operator==(const DomainPattern&) const = default;

 private:
  DomainPattern(std::string name, bool wildcard) : name_(std::move(name)), wildcard_(wildcard) {}

  std::string name_;
  bool wildcard_;
};

using DomainPatterns = std::vector<DomainPattern>;

// Whether any of them matches. `name` must be normal.
bool AnyMatches(const DomainPatterns& patterns, std::string_view name);

}  // namespace tinderbox::egress
