// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <list>
#include <memory>
#include <string>

#include "api/dial_gate.h"
#include "api/sandbox_address.h"
#include "api/upstream.h"
#include "api/upstream_pool.h"
#include "net/http_server.h"
#include "sandbox/manager.h"
#include "tls/client.h"

namespace tinderbox::api {

struct ProxyOptions {
  DialGate::Options dial;
  std::chrono::milliseconds head_deadline{600'000};  // from the request to the answer's head
};

struct Flow;

// Passes requests on to ports of guests and their answers back: bodies stream both ways at once
// through fixed buffers, so that a slow reader holds up its writer and memory stays bounded.
//
// A flow is tied to one life of its sandbox: SandboxGone resets it. What the client reads then is a
// transport error, which the SDKs follow up with a probe that we answer with 502.
//
// Trailers of either side are read and dropped, as RFC 9110 §6.5.1 allows.
//
// Belongs to the loop's thread.
class Proxy {
 public:
  Proxy(boost::asio::io_context& io, sandbox::Manager& manager, ProxyOptions options);
  ~Proxy();

  net::Task<> Forward(net::Exchange& exchange, SandboxAddress address);
  // Resets every flow of the sandbox and closes its kept connections.
  void SandboxGone(const std::string& id);
  // Resets every flow.
  void Stop();

  std::size_t flows() const { return flows_.size(); }
  std::size_t idle_upstreams() const { return pool_.size(); }

 private:
  using FlowPtr = std::shared_ptr<Flow>;

  net::Task<> Run(FlowPtr flow);
  net::AsyncResult<UpstreamHead> Ask(FlowPtr flow);
  net::AsyncResult<> Connect(FlowPtr flow, bool may_reuse);
  net::AsyncResult<> SendRequest(FlowPtr flow);
  void CloseIfSlow(const FlowPtr& flow, std::chrono::milliseconds limit);
  net::AsyncResult<UpstreamHead> AwaitHead(FlowPtr flow);
  net::Task<> PumpRequest(FlowPtr flow);
  net::Task<> PassAnswer(FlowPtr flow, UpstreamHead head);
  net::Task<> Upgrade(FlowPtr flow, UpstreamHead head);
  net::Task<> RefuseFlow(FlowPtr flow, base::Error error);

  boost::asio::io_context& io_;
  sandbox::Manager& manager_;
  const ProxyOptions options_;
  const tls::Client tls_;
  DialGate gate_;
  UpstreamPool pool_;
  std::list<FlowPtr> flows_;
  bool stopping_ = false;
};

}  // namespace tinderbox::api
