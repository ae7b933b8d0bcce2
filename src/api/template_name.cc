// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/template_name.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/text.h"

namespace tinderbox::api {
namespace {

constexpr std::string_view kDefaultTag = "default";

bool Consists(std::string_view part, std::string_view extra) {
  return !part.empty() && std::ranges::all_of(part, [extra](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || extra.contains(c);
  });
}

std::string TrimmedLower(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const auto first = text.find_first_not_of(kSpace);
  if (first == text.npos) return {};
  std::string name(text.substr(first, text.find_last_not_of(kSpace) - first + 1));
  std::ranges::transform(name, name.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return name;
}

}  // namespace

base::Result<std::string> NormalTemplateName(std::string_view text) {
  const std::string whole = TrimmedLower(text);
  const auto bad = [&whole] {
    return base::Fail(
        base::Code::kInvalidArgument,
        fmt::format("'{}' is no template's id or name", ValidUtf8(whole.substr(0, 256), true)));
  };
  if (whole.size() > 256) return bad();
  auto [rest, tag] = SplitTemplateName(whole);
  if (!Consists(tag, "-_.")) return bad();
  std::string_view space = kNamespace;
  if (const auto slash = rest.find('/'); slash != rest.npos) {
    space = rest.substr(0, slash);
    rest = rest.substr(slash + 1);
    if (!Consists(space, "-_")) return bad();
  }
  if (!Consists(rest, "-_")) return bad();
  if (space != kNamespace) {
    return base::Fail(base::Code::kInvalidArgument,
                      fmt::format("namespace '{}' must match your team '{}'", space, kNamespace));
  }
  return tag == kDefaultTag ? std::string(rest) : fmt::format("{}:{}", rest, tag);
}

NameParts SplitTemplateName(std::string_view normal) {
  const auto colon = normal.find(':');
  if (colon == normal.npos) return {normal, kDefaultTag};
  return {normal.substr(0, colon), normal.substr(colon + 1)};
}

std::string FullTemplateName(std::string_view name) {
  const auto [base, tag] = SplitTemplateName(name);
  return fmt::format("{}/{}:{}", kNamespace, base, tag);
}

}  // namespace tinderbox::api
