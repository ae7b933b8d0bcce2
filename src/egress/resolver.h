// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "net/http_message.h"
#include "sys/netlink_address.h"

namespace tinderbox::egress {

// Asks name servers for the IPv4 addresses of names; nothing else of the host's configuration is
// used, no /etc/hosts, no search domains. Answers are kept for as long as they say, at most a
// minute; two that ask for the same name at once share one question. Bounded in names, and each
// question in time. Belongs to the loop's thread.
class Resolver {
 public:
  struct Options {
    std::vector<std::string> servers;         // addresses; asked one after the other
    std::uint16_t port = 53;                  // of all of them
    std::chrono::milliseconds timeout{1500};  // of one try at one server, doubled at the second
    std::size_t names = 1024;                 // kept
    std::size_t asking = 256;                 // at once; beyond: kResourceExhausted
  };
  static base::Result<std::unique_ptr<Resolver>> Make(boost::asio::io_context& io,
                                                      const Options& options);
  virtual ~Resolver() = default;

  // At least one address. kNotFound where the name has none; kUnavailable where no server answers.
  virtual net::AsyncResult<std::vector<sys::Ipv4>> Resolve(std::string name) = 0;
};

}  // namespace tinderbox::egress
