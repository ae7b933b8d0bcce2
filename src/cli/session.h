// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/value.hpp>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/deadline.h"
#include "base/error.h"
#include "cli/options.h"
#include "net/http_client.h"

namespace tinderbox::cli {

inline constexpr std::string_view kDefaultHost = "unix:///run/tinderbox/tinderboxd.sock";

// How long a call that only asks or records may take.
inline constexpr std::chrono::seconds kCallTime{30};
// A create may boot a VM under software emulation on a busy host; the daemon has its own, shorter
// deadline and says what went wrong.
inline constexpr std::chrono::minutes kCreateTime{10};

// The way to one daemon: where it is, with which key. A value type: copies share nothing, so each
// thread takes its own.
class Session {
 public:
  // The host of `options`, else TINDERBOX_HOST, else the unix socket; the key of TINDERBOX_API_KEY,
  // else E2B_API_KEY.
  static base::Result<Session> FromEnvironment(const GlobalOptions& options);

  Session(net::Endpoint endpoint, std::string api_key, bool json = false);
  Session(const Session& other) : Session(other.endpoint_, other.api_key_, other.json_) {}
  Session& operator=(const Session&) = delete;

  // A fresh connection. That nobody listens is worded for the user, with the remedy.
  base::Result<net::HttpClient> Connect(base::Deadline deadline) const;

  // One call of the API over a connection that is kept. A status outside 2xx becomes an error with
  // the server's message and remedy.
  base::Result<net::HttpResponse> Call(std::string_view method, std::string target,
                                       const std::optional<boost::json::value>& body,
                                       base::Deadline deadline);
  // The same, for an answer that is JSON.
  base::Result<boost::json::value> CallJson(
      std::string_view method, std::string target,
      const std::optional<boost::json::value>& body = std::nullopt,
      base::Deadline deadline = base::Deadline::After(kCallTime));

  // Every sandbox in whatever state, newest first, as /tinderbox/v1/sandboxes tells.
  base::Result<boost::json::array> ListSandboxes();

  // The id that `reference` means: an id, a name (metadata "name"), or the beginning of an id, in
  // this order. kNotFound, or kInvalidArgument where it is ambiguous.
  base::Result<std::string> Resolve(const std::string& reference);

  const net::Endpoint& endpoint() const { return endpoint_; }
  const std::string& api_key() const { return api_key_; }
  bool json() const { return json_; }

 private:
  net::Endpoint endpoint_;
  std::string api_key_;
  bool json_;
  std::optional<net::HttpClient> client_;
};

// Which of `sandboxes` (API list entries) `reference` means; see Session::Resolve.
base::Result<std::string> FindSandbox(const boost::json::array& sandboxes,
                                      std::string_view reference);

// The string at `key`, "" where there is none; the number likewise, 0.
std::string TextAt(const boost::json::value& object, std::string_view key);
std::int64_t NumberAt(const boost::json::value& object, std::string_view key);

}  // namespace tinderbox::cli
