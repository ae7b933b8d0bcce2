// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "egress/domain_pattern.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace tinderbox::egress {
namespace {

using base::Code;
using base::Error;
using base::Result;

constexpr std::size_t kLongestName = 253;
constexpr std::size_t kLongestLabel = 63;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLetter(char c) { return c >= 'a' && c <= 'z'; }

bool IsLabel(std::string_view label) {
  if (label.empty() || label.size() > kLongestLabel) return false;
  if (label.front() == '-' || label.back() == '-') return false;
  return std::ranges::all_of(
      label, [](char c) { return IsLetter(c) || IsDigit(c) || c == '-' || c == '_'; });
}

std::unexpected<Error> NoPattern(std::string_view text, std::string_view why) {
  return std::unexpected(
      Error(Code::kInvalidArgument,
            fmt::format("'{}' is no host name: {}", text.substr(0, 100), why))
          .WithRemedy("Write 'example.com' for that name alone, '*.example.com' for all below it; "
                      "names with other letters in their 'xn--' form."));
}

}  // namespace

std::optional<std::string> NormalHostName(std::string_view name) {
  if (name.ends_with('.')) name.remove_suffix(1);
  if (name.empty() || name.size() > kLongestName) return std::nullopt;
  std::string normal(name);
  for (char& c : normal) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  std::string_view rest = normal;
  for (;;) {
    const std::size_t dot = rest.find('.');
    const std::string_view label = rest.substr(0, dot);
    if (!IsLabel(label)) return std::nullopt;
    // A last label of digits makes an address of it, for some of those who read it.
    const bool last = dot == rest.npos;
    if (last && std::ranges::all_of(label, IsDigit)) return std::nullopt;
    if (last) return normal;
    rest.remove_prefix(dot + 1);
  }
}

Result<DomainPattern> DomainPattern::Parse(std::string_view text) {
  std::string_view name = text;
  const bool wildcard = name.starts_with("*.");
  if (wildcard) name.remove_prefix(2);
  if (name == "*" || (wildcard && name.empty())) {
    return NoPattern(text, "a wildcard needs a name below which it stands");
  }
  if (name.find('*') != name.npos) {
    return NoPattern(text, "a wildcard stands only in front, for whole labels");
  }
  auto normal = NormalHostName(name);
  if (!normal) return NoPattern(text, "it is not made of letters, digits and hyphens");
  return DomainPattern(*std::move(normal), wildcard);
}

bool DomainPattern::Matches(std::string_view name) const {
  if (!wildcard_) return name == name_;
  return name.size() > name_.size() + 1 && name.ends_with(name_) &&
         name[name.size() - name_.size() - 1] == '.';
}

bool AnyMatches(const DomainPatterns& patterns, std::string_view name) {
  return std::ranges::any_of(patterns,
                             [&](const DomainPattern& pattern) { return pattern.Matches(name); });
}

}  // namespace tinderbox::egress
