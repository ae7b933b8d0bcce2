// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "egress/changer.h"

#include <fmt/format.h>

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "base/log.h"

namespace tinderbox::egress {

namespace asio = boost::asio;
using base::Code;
using base::Result;

Result<std::string> Changer::Certificate() {
  const std::lock_guard lock(mutex_);
  if (!authority_) {
    if (options_.authority.empty()) {
      return base::Fail(Code::kUnimplemented, "this gateway changes no requests");
    }
    as_client_ = TRY(intercept::MakeClientContext(options_.ca_file));
    authority_ = TRY(intercept::Authority::Open(options_.authority));
  }
  return authority_->certificate();
}

Result<std::shared_ptr<intercept::Bridge>> Changer::Make(
    intercept::BridgeEnds ends, const std::string& name, std::uint16_t port,
    std::shared_ptr<const Transform> transform) {
  intercept::BridgeOptions options;
  options.name = name;
  options.port = port;
  options.headers = [this, transform = std::move(transform)] { return Headers(transform); };
  if (port != 443) {
    return std::make_shared<intercept::Bridge>(std::move(ends), std::move(options), nullptr,
                                               nullptr);
  }
  TRY(Certificate());
  const intercept::SslContextPtr as_server = TRY(authority_->ServerContext(name));
  return std::make_shared<intercept::Bridge>(std::move(ends), std::move(options), as_server.get(),
                                             as_client_.get());
}

net::AsyncResult<net::HeaderList> Changer::Headers(std::shared_ptr<const Transform> transform) {
  const asio::any_io_executor executor = co_await asio::this_coro::executor;
  co_return co_await asio::async_initiate<const asio::use_awaitable_t<>,
                                          void(Result<net::HeaderList>)>(
      [this, executor](auto handler, std::shared_ptr<const Transform> what) {
        auto shared = std::make_shared<decltype(handler)>(std::move(handler));
        asio::post(pool_, [this, shared, what, executor] {
          auto filled = std::make_shared<Result<net::HeaderList>>(FillNow(*what));
          asio::post(executor, [shared, filled] { std::move (*shared)(std::move(*filled)); });
        });
      },
      asio::use_awaitable, std::move(transform));
}

// The guest learns which secret it is that fails, the host's log why.
Result<net::HeaderList> Changer::FillNow(const Transform& transform) const {
  auto filled = transform.Fill([this](std::string_view name, std::string& to) -> Result<> {
    if (!options_.secret) return base::Fail(Code::kUnimplemented, "there are no secrets");
    const Result<> appended = options_.secret(name, to);
    if (appended) return {};
    base::LogWarning("a request needs a secret that is not to be had",
                     {{"secret", name}, {"error", appended.error().ToString()}});
    return base::Fail(appended.error().code(), fmt::format("secret '{}' is not to be had", name));
  });
  return filled;
}

}  // namespace tinderbox::egress
