// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "intercept/stream.h"

#include <fmt/format.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <cstring>
#include <utility>

namespace tinderbox::intercept {
namespace {

namespace asio = boost::asio;
using base::Code;
using base::Fail;
using base::Result;
using net::StreamSocket;

constexpr unsigned char kHttp[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};

std::unexpected<base::Error> Lost(std::string_view doing, const boost::system::error_code& ec) {
  return Fail(Code::kUnavailable, fmt::format("{}: {}", doing, ec.message()));
}

void CloseSocket(StreamSocket& socket, bool reset) {
  if (!socket.is_open()) return;
  if (reset) {
    const linger now{1, 0};
    ::setsockopt(socket.native_handle(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  }
  boost::system::error_code ignored;
  socket.close(ignored);
}

template <typename AsioStream>
net::AsyncResult<std::size_t> ReadFrom(AsioStream& stream, std::span<char> into) {
  boost::system::error_code ec;
  const std::size_t n = co_await stream.async_read_some(
      asio::buffer(into.data(), into.size()), asio::redirect_error(asio::use_awaitable, ec));
  if (ec == asio::error::eof) co_return std::size_t{0};
  if (ec) co_return Lost("read", ec);
  co_return n;
}

template <typename AsioStream>
net::AsyncResult<> WriteTo(AsioStream& stream, std::string_view data) {
  boost::system::error_code ec;
  co_await asio::async_write(stream, asio::buffer(data),
                             asio::redirect_error(asio::use_awaitable, ec));
  if (ec) co_return Lost("write", ec);
  co_return Result<>{};
}

class Plain final : public Stream {
 public:
  Plain(StreamSocket socket, std::string buffered)
      : socket_(std::move(socket)), buffered_(std::move(buffered)) {}

  net::AsyncResult<std::size_t> ReadSome(std::span<char> into) override {
    if (!buffered_.empty()) {
      const std::size_t n = std::min(into.size(), buffered_.size());
      std::memcpy(into.data(), buffered_.data(), n);
      buffered_.erase(0, n);
      co_return n;
    }
    co_return co_await ReadFrom(socket_, into);
  }
  net::AsyncResult<> Write(std::string_view data) override {
    co_return co_await WriteTo(socket_, data);
  }
  net::Task<> Finish() override {
    boost::system::error_code ignored;
    socket_.shutdown(StreamSocket::shutdown_send, ignored);
    co_return;
  }
  void Close(bool reset) override { CloseSocket(socket_, reset); }

 private:
  StreamSocket socket_;
  std::string buffered_;
};

class Tls final : public TlsStream {
 public:
  // asio's context owns one reference.
  Tls(StreamSocket socket, SSL_CTX* context)
      : context_((SSL_CTX_up_ref(context), context)), stream_(std::move(socket), context_) {}

  net::AsyncResult<> Accept(std::string hello) override {
    boost::system::error_code ec;
    const std::size_t used =
        co_await stream_.async_handshake(asio::ssl::stream_base::server, asio::buffer(hello),
                                         asio::redirect_error(asio::use_awaitable, ec));
    if (ec) co_return Lost("TLS with the sandbox", ec);
    // Nobody may say more before the server has answered: there is no early data.
    if (used != hello.size()) co_return Fail(Code::kInvalidArgument, "TLS: more than was expected");
    co_return Result<>{};
  }

  net::AsyncResult<> Connect(const std::string& name) override {
    SSL* const ssl = stream_.native_handle();
    if (SSL_set_tlsext_host_name(ssl, name.c_str()) != 1 || SSL_set1_host(ssl, name.c_str()) != 1) {
      co_return Fail(Code::kInternal, fmt::format("TLS with '{}': its name is not usable", name));
    }
    boost::system::error_code ec;
    co_await stream_.async_handshake(asio::ssl::stream_base::client,
                                     asio::redirect_error(asio::use_awaitable, ec));
    if (!ec) co_return Result<>{};
    const long verdict = SSL_get_verify_result(ssl);
    if (verdict != X509_V_OK) {
      co_return Fail(Code::kPermissionDenied,
                     fmt::format("the certificate of '{}' is not good: {}", name,
                                 X509_verify_cert_error_string(verdict)));
    }
    co_return Lost(fmt::format("TLS with '{}'", name), ec);
  }

  net::AsyncResult<std::size_t> ReadSome(std::span<char> into) override {
    // An end without TLS' word for it may have been made by anybody: it is an error, no end.
    co_return co_await ReadFrom(stream_, into);
  }
  net::AsyncResult<> Write(std::string_view data) override {
    co_return co_await WriteTo(stream_, data);
  }
  net::Task<> Finish() override {
    // Asio's own shutdown waits for the other side's word, which is not ours to wait for while we
    // read on: the alert goes out by hand.
    SSL_set_quiet_shutdown(stream_.native_handle(), 0);
    boost::system::error_code ec;
    co_await stream_.async_shutdown(asio::redirect_error(asio::use_awaitable, ec));
  }
  void Close(bool reset) override { CloseSocket(stream_.next_layer(), reset); }

 private:
  asio::ssl::context context_;
  asio::ssl::stream<StreamSocket> stream_;
};

}  // namespace

std::shared_ptr<Stream> MakePlainStream(StreamSocket socket, std::string buffered) {
  return std::make_shared<Plain>(std::move(socket), std::move(buffered));
}

std::shared_ptr<TlsStream> MakeTlsStream(StreamSocket socket, SSL_CTX* context) {
  return std::make_shared<Tls>(std::move(socket), context);
}

Result<SslContextPtr> MakeClientContext(const std::string& more) {
  SslContextPtr context(SSL_CTX_new(TLS_client_method()));
  if (!context || SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) != 1 ||
      SSL_CTX_set_alpn_protos(context.get(), kHttp, sizeof(kHttp)) != 0) {
    return Fail(Code::kInternal, "prepare TLS: OpenSSL refuses");
  }
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION);
  SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
  SSL_CTX_set_default_verify_paths(context.get());
  const bool loaded =
      more.empty() || SSL_CTX_load_verify_locations(context.get(), more.c_str(), nullptr) == 1;
  ERR_clear_error();
  if (loaded) return context;
  const bool there = ::access(more.c_str(), R_OK) == 0;
  return std::unexpected(
      base::Error(there ? Code::kInvalidArgument : Code::kNotFound,
                  fmt::format("read certificate authorities from '{}': {}", more,
                              there ? "it holds no PEM certificate" : "it cannot be read"))
          .WithRemedy("Correct `network.ca_file` in the configuration."));
}

}  // namespace tinderbox::intercept
