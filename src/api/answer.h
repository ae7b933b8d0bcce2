// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <boost/json/value.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "net/http_message.h"

namespace tinderbox::api {

// A control request, taken off its connection: what handlers see.
struct Request {
  std::string method;
  std::string path;                 // as sent, percent-encoded
  std::vector<std::string> params;  // of the route's pattern, decoded
  std::vector<net::HeaderList::Field> query;
  net::HeaderList headers;
  std::string body;
  bool local_root = false;  // uid 0 on the unix socket

  // The first query parameter of that name, "" where there is none.
  std::string_view Query(std::string_view name) const {
    for (const auto& [key, value] : query) {
      if (key == name) return value;
    }
    return {};
  }
};

// A complete answer.
struct Answer {
  unsigned status = 200;
  net::HeaderList headers;
  std::string body;
};

Answer JsonAnswer(unsigned status, const boost::json::value& value);
Answer EmptyAnswer(unsigned status);  // Content-Length: 0, or none for 204
Answer TextAnswer(unsigned status, std::string type, std::string text);

}  // namespace tinderbox::api
