// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "intercept/bridge.h"
#include "sys/fd.h"
#include "sys/file.h"

// For tests: a bridge on a loop of its own, whose two ends the test holds.
namespace tinderbox::intercept {

// A blocking end of a connection, in the clear or within TLS, which a test plays.
class End {
 public:
  End() = default;
  explicit End(sys::UniqueFd fd) : fd_(std::move(fd)) {
    const timeval patience{10, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  }
  ~End() { SSL_free(ssl_); }
  End(End&& other) noexcept : fd_(std::move(other.fd_)), ssl_(std::exchange(other.ssl_, nullptr)) {}
  End& operator=(End&&) = delete;

  // Whether the handshake succeeded. As the client: of `name`.
  bool Tls(SSL_CTX* context, const std::string& name) {
    ssl_ = SSL_new(context);
    SSL_set_fd(ssl_, fd_.get());
    if (name.empty()) return SSL_accept(ssl_) == 1;
    SSL_set_tlsext_host_name(ssl_, name.c_str());
    SSL_set1_host(ssl_, name.c_str());
    return SSL_connect(ssl_) == 1;
  }
  void Send(std::string_view text) {
    if (ssl_ != nullptr) {
      SSL_write(ssl_, text.data(), static_cast<int>(text.size()));
    } else {
      static_cast<void>(::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL));
    }
  }
  // Up to `mark`, or to the end.
  std::string ReadUntil(std::string_view mark) {
    while (!got_.contains(mark) && Fill()) {
    }
    const std::size_t at = got_.find(mark);
    const std::size_t size = at == got_.npos ? got_.size() : at + mark.size();
    std::string text = got_.substr(0, size);
    got_.erase(0, size);
    return text;
  }
  // What came in one piece.
  std::string ReadOnce() {
    if (got_.empty()) Fill();
    return std::exchange(got_, {});
  }
  std::string ReadHead() { return ReadUntil("\r\n\r\n"); }
  std::string ReadAll() {
    while (Fill()) {
    }
    return std::exchange(got_, {});
  }
  // Whether an end came that was meant to be one.
  bool ended() const { return ended_; }
  bool Silent() {
    pollfd entry{.fd = fd_.get(), .events = POLLIN, .revents = 0};
    return got_.empty() && ::poll(&entry, 1, 100) == 0;
  }
  void Shutdown() {
    if (ssl_ != nullptr) SSL_shutdown(ssl_);
    ::shutdown(fd_.get(), SHUT_WR);
  }
  void Close() {
    if (ssl_ != nullptr) SSL_shutdown(ssl_);
    fd_.Reset();
  }
  SSL* ssl() const { return ssl_; }

 private:
  bool Fill() {
    char buffer[8192];
    const auto n = ssl_ != nullptr ? SSL_read(ssl_, buffer, sizeof(buffer))
                                   : static_cast<int>(::recv(fd_.get(), buffer, sizeof(buffer), 0));
    if (n > 0) got_.append(buffer, static_cast<std::size_t>(n));
    ended_ = ssl_ != nullptr ? SSL_get_error(ssl_, n) == SSL_ERROR_ZERO_RETURN : n == 0;
    return n > 0;
  }

  sys::UniqueFd fd_;
  SSL* ssl_ = nullptr;
  std::string got_;
  bool ended_ = false;
};

class BridgeTest : public testing::Test {
 protected:
  BridgeTest() {
    ::signal(SIGPIPE, SIG_IGN);
    dir_ = testing::TempDir() + "tb-bridge-XXXXXX";
    EXPECT_NE(mkdtemp(dir_.data()), nullptr);
    thread_ = std::thread([this] {
      const auto guard = boost::asio::make_work_guard(io_);
      io_.run();
    });
  }
  ~BridgeTest() override {
    EXPECT_TRUE(Over()) << "the bridge does not end";
    io_.stop();
    thread_.join();
    std::filesystem::remove_all(dir_);
  }

  BridgeOptions Options(std::uint16_t port) {
    BridgeOptions options;
    options.name = "api.example.com";
    options.port = port;
    options.farewell = std::chrono::milliseconds(500);
    options.headers = [this]() -> net::AsyncResult<net::HeaderList> {
      ++asked_;
      if (refuse_) co_return base::Fail(base::Code::kNotFound, "secret 'x' not found");
      co_return net::HeaderList{{"Authorization", "Bearer s3cret"},
                                {"X-Count", std::to_string(asked_)}};
    };
    return options;
  }

  // The two ends that the bridge has, on its loop.
  void Start(BridgeOptions options, std::string first = {}, SSL_CTX* as_server = nullptr,
             SSL_CTX* as_client = nullptr) {
    std::promise<void> begun;
    boost::asio::post(io_, [&] {
      bridge_ =
          std::make_shared<Bridge>(BridgeEnds{Wrap(std::move(inner_client_)), std::move(first),
                                              Wrap(std::move(inner_server_))},
                                   std::move(options), as_server, as_client);
      boost::asio::co_spawn(io_, bridge_->Run(), [this](std::exception_ptr error) {
        EXPECT_FALSE(error);
        over_.set_value();
      });
      begun.set_value();
    });
    begun.get_future().wait();
    started_ = true;
  }
  void StartPlain(const BridgeOptions& options) {
    Pair();
    Start(options);
  }
  void Pair() {
    std::tie(client_fd_, inner_client_) = SocketPair();
    std::tie(server_fd_, inner_server_) = SocketPair();
  }
  End& guest() {
    if (!guest_) guest_ = std::make_unique<End>(std::move(client_fd_));
    return *guest_;
  }
  End& server() {
    if (!server_) server_ = std::make_unique<End>(std::move(server_fd_));
    return *server_;
  }
  // Once both ends are gone, the bridge is too.
  bool Over() {
    if (!started_) return true;
    started_ = false;
    guest_.reset();
    server_.reset();
    client_fd_.Reset();
    server_fd_.Reset();
    return over_.get_future().wait_for(std::chrono::seconds(5)) == std::future_status::ready;
  }

  static std::pair<sys::UniqueFd, sys::UniqueFd> SocketPair() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    return {sys::UniqueFd(ends[0]), sys::UniqueFd(ends[1])};
  }
  net::StreamSocket Wrap(sys::UniqueFd fd) {
    net::StreamSocket socket(io_);
    socket.assign(boost::asio::generic::stream_protocol(AF_UNIX, 0), fd.Release());
    return socket;
  }

  std::string dir_;
  int asked_ = 0;
  bool refuse_ = false;
  sys::UniqueFd client_fd_, server_fd_, inner_client_, inner_server_;
  std::unique_ptr<End> guest_, server_;
  boost::asio::io_context io_;
  std::shared_ptr<Bridge> bridge_;
  std::promise<void> over_;
  bool started_ = false;
  std::thread thread_;
};

}  // namespace tinderbox::intercept
