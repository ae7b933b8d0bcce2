// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/request_fields.h"

#include <fmt/format.h>

#include <boost/json.hpp>

namespace tinderbox::api {

using base::Code;

base::Result<boost::json::object> ParseObject(std::string_view body, bool may_be_empty) {
  if (body.find_first_not_of(" \t\r\n") == body.npos) {
    if (may_be_empty) return boost::json::object();
    return base::Fail(Code::kInvalidArgument, "the request needs a JSON object as its body");
  }
  boost::json::parse_options options;
  options.max_depth = 16;
  boost::system::error_code error;
  boost::json::value value = boost::json::parse(body, error, {}, options);
  if (error) {
    return base::Fail(Code::kInvalidArgument,
                      fmt::format("the request's body is no JSON: {}", error.message()));
  }
  if (!value.is_object()) {
    return base::Fail(Code::kInvalidArgument, "the request's body is no JSON object");
  }
  return std::move(value.as_object());
}

const boost::json::value* FieldReader::Find(std::string_view name) {
  asked_.emplace(name);
  const boost::json::value* value = object_.if_contains(name);
  return value == nullptr || value->is_null() ? nullptr : value;
}

void FieldReader::Fail(std::string_view name, std::string_view problem) {
  if (error_) return;
  error_ = base::Error(Code::kInvalidArgument, fmt::format("field '{}' {}", NameOf(name), problem));
}

void FieldReader::Unsupported(std::string_view name, std::string_view why) {
  if (error_) return;
  error_ = base::Error(Code::kInvalidArgument,
                       fmt::format("field '{}' asks for what this server does not do: {}",
                                   NameOf(name), why))
               .WithRemedy(fmt::format("Leave '{}' out of the request.", NameOf(name)));
}

void FieldReader::UnsupportedUnlessEmpty(std::string_view name, std::string_view why) {
  const auto* array = Array(name);
  if (array != nullptr && !array->empty()) Unsupported(name, why);
}

std::optional<std::string> FieldReader::String(std::string_view name) {
  const boost::json::value* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) {
    Fail(name, "must be a string");
    return std::nullopt;
  }
  return std::string(value->as_string());
}

std::optional<bool> FieldReader::Bool(std::string_view name) {
  const boost::json::value* value = Find(name);
  if (value == nullptr) return std::nullopt;
  if (!value->is_bool()) {
    Fail(name, "must be true or false");
    return std::nullopt;
  }
  return value->as_bool();
}

std::optional<std::int64_t> FieldReader::Integer(std::string_view name, std::int64_t min,
                                                 std::int64_t max) {
  const boost::json::value* value = Find(name);
  if (value == nullptr) return std::nullopt;
  boost::system::error_code error;
  // Takes 5 and 5.0, refuses 5.5, "5" and what does not fit.
  const auto number = value->is_number() ? value->to_number<std::int64_t>(error) : std::int64_t{0};
  if (!value->is_number() || error || number < min || number > max) {
    Fail(name, fmt::format("must be an integer from {} to {}", min, max));
    return std::nullopt;
  }
  return number;
}

std::optional<std::map<std::string, std::string>> FieldReader::StringMap(std::string_view name) {
  const boost::json::object* object = Object(name);
  if (object == nullptr) return std::nullopt;
  std::map<std::string, std::string> map;
  for (const auto& [key, value] : *object) {
    if (!value.is_string()) {
      Fail(fmt::format("{}.{}", name, std::string_view(key)), "must be a string");
      return std::nullopt;
    }
    map.emplace(key, value.as_string());
  }
  return map;
}

const boost::json::object* FieldReader::Object(std::string_view name) {
  const boost::json::value* value = Find(name);
  if (value != nullptr && !value->is_object()) Fail(name, "must be an object");
  return value == nullptr ? nullptr : value->if_object();
}

const boost::json::array* FieldReader::Array(std::string_view name) {
  const boost::json::value* value = Find(name);
  if (value != nullptr && !value->is_array()) Fail(name, "must be an array");
  return value == nullptr ? nullptr : value->if_array();
}

void FieldReader::Skip(std::string_view name) { asked_.emplace(name); }

base::Result<> FieldReader::Finish() {
  for (const auto& [key, value] : object_) {
    if (!value.is_null() && !asked_.contains(std::string_view(key))) {
      Unsupported(key, "the field is not known");
    }
  }
  if (error_) return std::unexpected(*error_);
  return {};
}

base::Result<> ExpectNoFields(std::string_view body) {
  const boost::json::object object = TRY(ParseObject(body, true));
  return FieldReader(object).Finish();
}

}  // namespace tinderbox::api
