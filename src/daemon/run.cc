// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderboxd run.
#include <fmt/format.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>

#include "api/server.h"
#include "base/log.h"
#include "daemon/backups.h"
#include "daemon/claim.h"
#include "daemon/commands.h"
#include "daemon/host.h"
#include "daemon/notify.h"
#include "daemon/reconcile.h"
#include "daemon/wire.h"
#include "sys/file.h"
#include "tls/server.h"

namespace tinderbox::daemon {
namespace {

namespace asio = boost::asio;
using base::Result;

constexpr std::chrono::seconds kStopTime{10};

// One descriptor for each client and one for each guest it talks to.
void RaiseFileLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 65536);
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    base::LogWarning("raise the limit on open files: ignoring", {{"errno", errno}});
  }
}

// The first key, made once. The store keeps its hash alone; the file is for root to read and
// delete.
Result<> MakeFirstKey(const Config& config, store::Store& store) {
  if (TRY(store.Keys().Count()) > 0) return {};
  const std::string key = TRY(store.Keys().Create("first start", 0)).key;
  const std::string path = config.state_dir + "/api-key";
  TRY(sys::WriteFileAtomic(path, key + "\n", 0600));
  base::LogInfo("made the first API key", {{"file", path}});
  return {};
}

// Null where the TCP port is plain.
Result<std::unique_ptr<tls::Server>> OpenTls(const Config& config) {
  if (config.listen.empty() || !UsesTls(config)) return nullptr;
  return TRY(tls::Server::Open({config.tls_certificate, config.tls_key}));
}

Result<std::uint16_t> Listen(const Config& config, api::Server& server, tls::Server* tls) {
  TRY(server.ListenUnix(config.socket, 0660));
  base::LogInfo("listening", {{"socket", config.socket}});
  if (config.listen.empty()) return std::uint16_t{0};
  const ListenAddress listen = TRY(ParseListen(config.listen));
  net::TlsAcceptor acceptor;
  if (tls != nullptr) acceptor = [tls](int fd) { return tls->Accept(fd); };
  auto port = server.ListenTcp(listen.address, listen.port, std::move(acceptor));
  if (!port) {
    auto error = std::move(port).error();
    if (error.errno_value() != EADDRINUSE) return std::unexpected(std::move(error));
    return std::unexpected(std::move(error).WithRemedy(fmt::format(
        "Port {} is taken: stop the program that has it (`ss -ltnp` tells which), or set "
        "another in `listen` of the configuration.",
        listen.port)));
  }
  base::LogInfo("listening",
                {{"address", listen.address}, {"port", *port}, {"tls", tls != nullptr}});
  if (!listen.loopback && tls == nullptr) {
    base::LogWarning("the API listens beyond loopback, without TLS", {{"listen", config.listen}});
  }
  return *port;
}

net::Task<> StopServer(api::Server& server, asio::io_context& io) {
  co_await server.Stop(base::Deadline::After(kStopTime));
  io.stop();
}

// Runs the loop until a signal asks for the end, then lets the server come to it.
void Serve(asio::io_context& io, api::Server& server) {
  asio::signal_set signals(io, SIGTERM, SIGINT);
  signals.async_wait([&](boost::system::error_code ec, int signal) {
    if (ec) return;
    base::LogInfo("stopping; sandboxes live on", {{"signal", signal}});
    NotifyServiceManager("STOPPING=1");
    asio::co_spawn(io, StopServer(server, io), [](std::exception_ptr) {});
    // Whoever asks twice does not want to wait; what is half done is undone at the next start.
    signals.async_wait([](boost::system::error_code again, int) {
      if (!again) ::_exit(1);
    });
  });
  NotifyServiceManager("READY=1");
  io.run();
}

}  // namespace

Result<> RunDaemon(const Config& config, const StartOptions& options) {
  TRY(PrepareDirectories(config));
  // Before anything is taken: what is wrong with it changes nothing on the host.
  const std::unique_ptr<tls::Server> tls = TRY(OpenTls(config));
  const HostClaim claim = TRY(HostClaim::Take(config, HostClaim::Purpose::kServe));
  // Of a predecessor that was killed while it wrote one.
  TRY(sys::RemoveTemporaries(config.state_dir));
  RaiseFileLimit();
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  const std::unique_ptr<System> system = TRY(OpenSystem(config, claim, options));
  TRY(MakeFirstKey(config, *system->store));
  const Backups backups(config);
  base::LogInfo("virtual machines by", {{"vmm", system->choice.driver->capabilities().vmm},
                                        {"why", system->choice.reason}});
  for (const std::string& line : system->manager->RecoveryReport()) {
    base::LogDebug("recovered", {{"what", line}});
  }
  Host host(config, *system);
  asio::io_context io(1);
  const ListenAddress wanted =
      config.listen.empty() ? ListenAddress{} : TRY(ParseListen(config.listen));
  api::Server server(io, *system->manager, *system->store, *system->secrets, *system->volumes, host,
                     {.domain = DomainOf(config, wanted.port),
                      .cors = config.cors,
                      .allowed_hosts = config.allowed_hosts});
  auto port = Listen(config, server, tls.get());
  if (port) {
    host.SetPort(*port);
    Serve(io, server);
  }
  static_cast<void>(sys::RemoveFile(config.socket));
  if (!port) return std::unexpected(std::move(port).error());
  base::LogInfo("stopped");
  return {};
}

}  // namespace tinderbox::daemon
