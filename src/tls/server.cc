// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "tls/server.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <utility>

#include "base/log.h"

namespace tinderbox::tls {

Server::Server(CertificateFiles files, std::chrono::milliseconds look_every)
    : files_(std::move(files)), look_every_(look_every), looked_(Clock::now()) {}

base::Result<std::unique_ptr<Server>> Server::Open(CertificateFiles files,
                                                   std::chrono::milliseconds look_every) {
  std::unique_ptr<Server> server(new Server(std::move(files), look_every));
  // First: what changes while we load is looked at again.
  server->seen_ = server->Seen();
  server->certificate_ = TRY(LoadCertificate(server->files_));
  return server;
}

std::string Server::Seen() const {
  std::string seen;
  for (const std::string& path : {files_.certificate, files_.key}) {
    struct stat found{};
    if (::stat(path.c_str(), &found) != 0) found = {};
    seen += fmt::format("{}:{}:{}:{}.{:09} ", found.st_dev, found.st_ino, found.st_size,
                        found.st_mtim.tv_sec, found.st_mtim.tv_nsec);
  }
  return seen;
}

void Server::LookForRenewal() {
  if (Clock::now() - looked_ < look_every_) return;
  looked_ = Clock::now();
  std::string now = Seen();
  if (now == seen_) return;
  seen_ = std::move(now);
  auto renewed = LoadCertificate(files_);
  if (!renewed) {
    base::LogWarning("the changed certificate is not used: the one before goes on to serve",
                     {{"certificate", files_.certificate}, {"error", renewed.error().ToString()}});
    return;
  }
  certificate_ = std::move(*renewed);
  base::LogInfo("serves with a renewed certificate", {{"certificate", files_.certificate}});
}

std::unique_ptr<net::TlsEngine> Server::Accept(int fd) {
  LookForRenewal();
  Ssl ssl(SSL_new(certificate_.context.get()));
  if (!ssl) return nullptr;
  SSL_set_accept_state(ssl.get());
  return std::make_unique<Engine>(std::move(ssl), fd);
}

}  // namespace tinderbox::tls
