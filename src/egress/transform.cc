// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "egress/transform.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>

namespace tinderbox::egress {
namespace {

using base::Code;
using base::Error;
using base::Fail;
using base::Result;

constexpr std::string_view kSecretPrefix = "e2b.secrets.";
constexpr std::size_t kMostName = 128;

// What says how far a message goes, or only to the next hop: of the connection, not of the request.
constexpr std::string_view kNotToBeSet[] = {
    "Host",    "Content-Length", "Transfer-Encoding",   "Connection",       "Keep-Alive", "TE",
    "Trailer", "Upgrade",        "Proxy-Authorization", "Proxy-Connection", "Expect"};

std::unexpected<Error> Bad(std::string message) {
  return Fail(Code::kInvalidArgument, std::move(message));
}

bool IsLetterOrDigit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool IsToken(std::string_view name) {
  return !name.empty() && name.size() <= kMostName && std::ranges::all_of(name, [](char c) {
    return IsLetterOrDigit(c) || (c != '\0' && std::string_view("!#$%&'*+-.^_`|~").contains(c));
  });
}

Result<std::string> SecretName(std::string_view name) {
  const bool good =
      !name.empty() && name.size() <= kMostName &&
      std::ranges::all_of(name, [](char c) { return IsLetterOrDigit(c) || c == '_' || c == '-'; });
  if (!good) return Bad("'${e2b.secrets.…}' holds what is no secret's name");
  std::string lower(name);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

Result<Headers> ReadHeaders(const boost::json::object& object) {
  Headers headers;
  for (const auto& [key, value] : object) {
    const std::string name(key);
    if (!IsToken(name)) return Bad("the name of a header is none");
    const auto is = [&name](std::string_view other) { return net::EqualsIgnoreCase(name, other); };
    if (std::ranges::any_of(kNotToBeSet, is)) {
      return Bad(fmt::format("header '{}' cannot be set: it belongs to the connection", name));
    }
    if (std::ranges::any_of(headers, [&](const auto& field) { return is(field.first); })) {
      return Bad(fmt::format("header '{}' is given twice", name));
    }
    if (!value.is_string()) return Bad(fmt::format("header '{}' must be a string", name));
    headers.emplace_back(name, TRY_CTX(HeaderValue::Parse(std::string_view(value.as_string())),
                                       fmt::format("header '{}'", name)));
  }
  return headers;
}

// {"transform": {"headers": {…}}}; either may be left out.
Result<Headers> ReadRule(const boost::json::value& rule) {
  const boost::json::value* at = &rule;
  for (const char* const field : {"transform", "headers"}) {
    const auto* object = at->if_object();
    if (object == nullptr) return Bad("a rule is an object {\"transform\": {\"headers\": {…}}}");
    for (const auto& [key, unused] : *object) {
      if (key != field) {
        return Bad(fmt::format("'{}' is not supported in a rule", std::string_view(key)));
      }
    }
    at = object->if_contains(field);
    if (at == nullptr || at->is_null()) return Headers();
  }
  if (!at->is_object()) return Bad("'headers' must be an object");
  return ReadHeaders(at->as_object());
}

Result<Transform> ReadTransform(std::string_view host, const boost::json::value& rules) {
  Transform transform{.host = TRY(DomainPattern::Parse(host)), .rules = {}};
  if (!rules.is_array()) return Bad("the rules of a host are an array");
  std::size_t count = 0;
  for (const boost::json::value& rule : rules.as_array()) {
    Headers headers = TRY(ReadRule(rule));
    count += headers.size();
    if (count > kMostTransformHeaders || transform.rules.size() == kMostTransformHeaders) {
      return Bad(fmt::format("it has more than {} headers or rules", kMostTransformHeaders));
    }
    transform.rules.push_back(std::move(headers));
  }
  return transform;
}

std::size_t BytesOf(const Transform& transform) {
  std::size_t bytes = transform.host.text().size();
  for (const Headers& headers : transform.rules) {
    for (const auto& [name, value] : headers) bytes += name.size() + value.text().size();
  }
  return bytes;
}

}  // namespace

Result<HeaderValue> HeaderValue::Parse(std::string_view text) {
  if (text.size() > kMostHeaderValue) {
    return Bad(fmt::format("its value has more than {} bytes", kMostHeaderValue));
  }
  const bool plain = std::ranges::all_of(text, [](char c) {
    return (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) || c == '\t';
  });
  if (!plain) return Bad("its value holds a control character");
  HeaderValue value;
  value.text_ = text;
  std::string_view rest = text;
  for (;;) {
    const std::size_t begin = rest.find("${e2b.");
    if (const auto before = rest.substr(0, begin); !before.empty()) {
      value.pieces_.push_back({.is_secret = false, .text = std::string(before)});
    }
    if (begin == rest.npos) return value;
    const std::size_t end = rest.find('}', begin);
    if (end == rest.npos) return Bad("its value has a '${e2b.' without '}'");
    const std::string_view what = rest.substr(begin + 2, end - begin - 2);
    if (!what.starts_with(kSecretPrefix)) {
      return std::unexpected(
          Error(Code::kInvalidArgument,
                "its value asks for what is not supported: of '${e2b.…}' "
                "there is '${e2b.secrets.NAME}' alone")
              .WithRemedy("Keep a token as a secret instead of deriving one (iam)."));
    }
    value.pieces_.push_back(
        {.is_secret = true, .text = TRY(SecretName(what.substr(kSecretPrefix.size())))});
    rest.remove_prefix(end + 1);
  }
}

std::vector<std::string> HeaderValue::secrets() const {
  std::vector<std::string> names;
  for (const Piece& piece : pieces_) {
    if (piece.is_secret) names.push_back(piece.text);
  }
  return names;
}

Result<std::string> HeaderValue::Fill(const Append& secret) const {
  std::string filled;
  for (const Piece& piece : pieces_) {
    if (piece.is_secret) {
      TRY(secret(piece.text, filled));
    } else {
      filled += piece.text;
    }
  }
  return filled;
}

Result<net::HeaderList> Transform::Fill(const HeaderValue::Append& secret) const {
  net::HeaderList list;
  for (const Headers& headers : rules) {
    for (const auto& [name, value] : headers) list.Set(name, TRY(value.Fill(secret)));
  }
  return list;
}

const Transform* FindTransform(const Transforms& transforms, std::string_view name) {
  const Transform* found = nullptr;
  for (const Transform& each : transforms) {
    if (name.empty() || !each.host.Matches(name)) continue;
    if (!each.host.is_wildcard()) return &each;
    if (found == nullptr || each.host.text().size() > found->host.text().size()) found = &each;
  }
  return found;
}

Result<Transforms> TransformsFromJson(const boost::json::object& object) {
  Transforms transforms;
  std::size_t bytes = 0;
  for (const auto& [host, rules] : object) {
    auto transform = ReadTransform(std::string_view(host), rules);
    if (!transform) {
      // A pattern's error names it already.
      const auto pattern = DomainPattern::Parse(std::string_view(host));
      if (!pattern) return std::unexpected(transform.error());
      return std::unexpected(
          std::move(transform).error().WithContext(fmt::format("rules of '{}'", pattern->text())));
    }
    for (const Transform& other : transforms) {
      if (other.host == transform->host) {
        return Bad(fmt::format("'{}' has rules twice", other.host.text()));
      }
    }
    bytes += BytesOf(*transform);
    if (transforms.size() == kMostTransforms || bytes > kMostTransformBytes) {
      return Bad(fmt::format("there are rules for more than {} hosts, or of more than {} bytes",
                             kMostTransforms, kMostTransformBytes));
    }
    transforms.push_back(*std::move(transform));
  }
  return transforms;
}

boost::json::object TransformsToJson(const Transforms& transforms) {
  boost::json::object object;
  for (const Transform& transform : transforms) {
    boost::json::array rules;
    for (const Headers& headers : transform.rules) {
      boost::json::object fields;
      for (const auto& [name, value] : headers) fields[name] = value.text();
      // Step by step: g++ 12 takes nested braces for something else.
      boost::json::object inner;
      inner["headers"] = std::move(fields);
      boost::json::object rule;
      rule["transform"] = std::move(inner);
      rules.push_back(std::move(rule));
    }
    object[transform.host.text()] = std::move(rules);
  }
  return object;
}

std::vector<std::string> SecretsOf(const Transforms& transforms) {
  std::vector<std::string> names;
  for (const Transform& transform : transforms) {
    for (const Headers& headers : transform.rules) {
      for (const auto& [field, value] : headers) {
        for (std::string& name : value.secrets()) names.push_back(std::move(name));
      }
    }
  }
  std::ranges::sort(names);
  names.erase(std::ranges::unique(names).begin(), names.end());
  return names;
}

}  // namespace tinderbox::egress
