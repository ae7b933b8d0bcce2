// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "base/error.h"

namespace tinderbox::api {

// Parses a request's body as a JSON object; an empty body counts as {} where `may_be_empty`.
base::Result<boost::json::object> ParseObject(std::string_view body, bool may_be_empty);

// For a call without options: an empty body or {}.
base::Result<> ExpectNoFields(std::string_view body);

// Reads the fields of a request's object, each by name and type. The first thing that is wrong is
// kept, and told at the end with the field's name; whatever was not asked for is refused by Finish,
// so that nothing that a caller wanted is ever ignored in silence. `null` counts as absent.
class FieldReader {
 public:
  explicit FieldReader(const boost::json::object& object, std::string prefix = {})
      : object_(object), prefix_(std::move(prefix)) {}

  std::optional<std::string> String(std::string_view name);
  std::optional<bool> Bool(std::string_view name);
  std::optional<std::int64_t> Integer(std::string_view name, std::int64_t min, std::int64_t max);
  std::optional<std::map<std::string, std::string>> StringMap(std::string_view name);
  const boost::json::object* Object(std::string_view name);
  const boost::json::array* Array(std::string_view name);
  // The field may be there with any value and is of no effect here.
  void Skip(std::string_view name);

  // A field that is known, but whose wish this version cannot fulfil.
  void Unsupported(std::string_view name, std::string_view why);
  // An array that may be there as long as it is empty.
  void UnsupportedUnlessEmpty(std::string_view name, std::string_view why);
  void Fail(std::string_view name, std::string_view problem);
  base::Result<> Finish();

  // "network.allowOut"
  std::string NameOf(std::string_view name) const { return prefix_ + std::string(name); }
  bool ok() const { return !error_; }
  void Take(std::optional<base::Error> error) {
    if (!error_) error_ = std::move(error);
  }
  const std::optional<base::Error>& error() const { return error_; }

 private:
  const boost::json::value* Find(std::string_view name);

  const boost::json::object& object_;
  const std::string prefix_;
  std::set<std::string, std::less<>> asked_;
  std::optional<base::Error> error_;
};

}  // namespace tinderbox::api
