// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/value.hpp>
#include <optional>
#include <string>

#include "base/deadline.h"
#include "base/error.h"
#include "cli/session.h"
#include "net/connect_client.h"
#include "net/http_client.h"

namespace tinderbox::cli {

// The agent in one sandbox, reached through the daemon's proxy on the same address as the API. A
// value type like Session: each thread takes its own copy.
class Agent {
 public:
  // `user` runs the processes and owns the files; "" = the sandbox's default.
  Agent(const Session& session, std::string sandbox, std::string token, std::string user);
  // Asks the API for the sandbox's token. kNotFound; kFailedPrecondition where it does not run.
  static base::Result<Agent> Find(Session& session, const std::string& sandbox, std::string user);

  // One unary call, "/process.Process/List", over a connection that is kept.
  base::Result<boost::json::value> Call(const std::string& path, const boost::json::value& request,
                                        base::Deadline deadline);
  // A stream on a connection of its own. The agent sends a sign of life every kSignOfLife.
  base::Result<net::ConnectStream> Stream(const std::string& path,
                                          const boost::json::value& request,
                                          base::Deadline deadline) const;
  static constexpr std::chrono::seconds kSignOfLife{50};

  // A connection for the file routes, and the headers that every request to the agent carries.
  base::Result<net::HttpClient> Connect(base::Deadline deadline) const;
  net::HttpHeaders Headers() const;

  const std::string& sandbox() const { return sandbox_; }
  const std::string& user() const { return user_; }
  const Session& session() const { return session_; }

  Agent(const Agent& other) : Agent(other.session_, other.sandbox_, other.token_, other.user_) {}
  Agent(Agent&&) = default;
  Agent& operator=(const Agent&) = delete;

 private:
  Session session_;
  std::string sandbox_;
  std::string token_;
  std::string user_;
  std::optional<net::HttpClient> client_;
};

}  // namespace tinderbox::cli
