// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <mutex>
#include <string>

#include "egress/gateway.h"
#include "egress/transform.h"
#include "intercept/authority.h"
#include "intercept/bridge.h"

namespace tinderbox::egress {

// Makes the bridges that change requests, and holds what they share: the certificate authority,
// made at its first use, and a thread that looks secrets up, so that the loop never waits for a
// disk.
class Changer {
 public:
  // `options` outlives it.
  explicit Changer(const GatewayOptions& options) : options_(options) {}
  ~Changer() { pool_.join(); }

  // The authority's certificate (PEM), which guests have to trust. From any thread.
  base::Result<std::string> Certificate();

  // On the loop's thread, after Certificate has succeeded once.
  base::Result<std::shared_ptr<intercept::Bridge>> Make(intercept::BridgeEnds ends,
                                                        const std::string& name, std::uint16_t port,
                                                        std::shared_ptr<const Transform> transform);

 private:
  net::AsyncResult<net::HeaderList> Headers(std::shared_ptr<const Transform> transform);
  base::Result<net::HeaderList> FillNow(const Transform& transform) const;

  const GatewayOptions& options_;
  std::mutex mutex_;  // guards the making of the two; from then on they are the loop's
  std::unique_ptr<intercept::Authority> authority_;
  intercept::SslContextPtr as_client_;
  boost::asio::thread_pool pool_{1};
};

}  // namespace tinderbox::egress
