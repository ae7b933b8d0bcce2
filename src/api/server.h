// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/auth.h"
#include "api/browser.h"
#include "api/control.h"
#include "api/proxy.h"
#include "api/sandbox_address.h"
#include "api/volume_content.h"
#include "api/worker_pool.h"
#include "base/deadline.h"
#include "base/error.h"
#include "net/http_server.h"

namespace tinderbox::api {

struct ServerOptions {
  std::string domain;  // of the sandboxes' host names, "localhost:3000"; empty: none
  bool cors = true;    // pages of any origin may call us (browser.h)
  // Names in `Host`, besides those of loopback and of `domain`, if the TCP port is on loopback.
  std::vector<std::string> allowed_hosts{};
  std::size_t connections = 4096;
  std::size_t slow_threads = 64;   // creates, kills
  std::size_t quick_threads = 8;   // everything else
  std::size_t volume_threads = 8;  // reading and writing in volumes
  std::size_t waiting = 1024;      // for each of these; beyond: 503
  ProxyOptions proxy;
  MetricSampler::Options metrics;
};

// The control API and the sandbox proxy on one TCP port and one unix socket. Belongs to the thread
// that runs `io`; blocking work goes to threads of its own. The manager, the store, the
// secrets, the volumes and the host view must outlive it.
class Server {
 public:
  Server(boost::asio::io_context& io, sandbox::Manager& manager, store::Store& store,
         secret::Vault& secrets, volume::Volumes& volumes, HostView& host, ServerOptions options);
  // Stop must have ended before.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Port 0 takes a free one. Returns the port. With `tls` the port speaks TLS alone. On loopback it
  // serves only requests for the host names that are its own (browser.h).
  base::Result<std::uint16_t> ListenTcp(const std::string& address, std::uint16_t port,
                                        net::TlsAcceptor tls = {});
  base::Result<> ListenUnix(const std::string& path, mode_t mode);

  // Resets the flows to sandboxes at once (they may last for ever), lets control requests end until
  // `deadline`. Sandboxes go on. Idempotent.
  net::Task<> Stop(base::Deadline deadline);

  const Proxy& proxy() const { return proxy_; }

 private:
  net::Task<> Handle(net::Exchange& exchange);
  std::optional<Answer> AnswerBrowser(net::Exchange& exchange, const Address& address);
  net::Task<> SignedFile(net::Exchange& exchange);
  net::Task<> Control(net::Exchange& exchange);
  net::AsyncResult<Answer> Serve(net::Exchange& exchange, const RouteMatch& match);

  boost::asio::io_context& io_;
  sandbox::Manager& manager_;
  const std::vector<Route> routes_;
  Proxy proxy_;
  ControlContext context_;
  WorkerPool quick_;
  WorkerPool slow_;
  Auth auth_;
  VolumeContent volume_content_;
  const bool cors_;
  const HostNames host_names_;
  bool on_loopback_ = false;
  // Apart, so that whoever fills the TCP port's connections does not lock root out.
  net::HttpServer tcp_;
  net::HttpServer local_;
};

}  // namespace tinderbox::api
