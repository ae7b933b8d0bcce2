// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/object.hpp>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "egress/domain_pattern.h"
#include "net/http_message.h"

// What is set in the heads of requests to some hosts, on their way out of a sandbox.
namespace tinderbox::egress {

// A field's value, in which "${e2b.secrets.NAME}" stands for a secret's value of then.
class HeaderValue {
 public:
  // kInvalidArgument for what no header can carry, and for other things of "${e2b.…}".
  static base::Result<HeaderValue> Parse(std::string_view text);

  const std::string& text() const { return text_; }
  // The names of the secrets in it, in lower case.
  std::vector<std::string> secrets() const;
  // Appends the value of the secret of that name.
  using Append = std::function<base::Result<>(std::string_view name, std::string& to)>;
  base::Result<std::string> Fill(const Append& secret) const;

  bool operator==(const HeaderValue& other) const { return text_ == other.text_; }

 private:
  struct Piece {
    bool is_secret = false;
    std::string text;  // as it is, or the secret's name
  };
  std::string text_;
  std::vector<Piece> pieces_;
};

// Fields of one rule, as they were given.
using Headers = std::vector<std::pair<std::string, HeaderValue>>;

// The rules of one host, in their order.
struct Transform {
  DomainPattern host;
  std::vector<Headers> rules;
  bool operator==(const Transform&) const = default;

  // All of their fields; of those of one name, the last.
  base::Result<net::HeaderList> Fill(const HeaderValue::Append& secret) const;
};
using Transforms = std::vector<Transform>;

inline constexpr std::size_t kMostTransforms = 64;
inline constexpr std::size_t kMostTransformHeaders = 64;  // of one host
inline constexpr std::size_t kMostHeaderValue = 8 << 10;
inline constexpr std::size_t kMostTransformBytes = 64 << 10;  // of all names and values

// The one that counts for `name` (normal): that of the name itself, else that of the longest
// wildcard. They are never merged.
const Transform* FindTransform(const Transforms& transforms, std::string_view name);

// E2B's form: {"api.example.com": [{"transform": {"headers": {"Authorization": "…"}}}]}.
// kInvalidArgument says what is wrong, and of which host.
base::Result<Transforms> TransformsFromJson(const boost::json::object& object);
boost::json::object TransformsToJson(const Transforms& transforms);

// Every secret that they name, once each.
std::vector<std::string> SecretsOf(const Transforms& transforms);

}  // namespace tinderbox::egress
