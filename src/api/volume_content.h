// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "api/answer.h"
#include "api/worker_pool.h"
#include "net/http_server.h"
#include "volume/volumes.h"

namespace tinderbox::api {

// E2B's API for what is in a volume, below /volumecontent/{id}/. Who asks bears the volume's own
// token, and needs no API key. Files stream both ways through one buffer, so that they may be
// larger than memory. Belongs to the loop's thread; file system calls go to threads of its own,
// since a slow disk must not hold up the rest.
class VolumeContent {
 public:
  static bool IsRequest(const net::RequestHead& head);

  VolumeContent(volume::Volumes& volumes, std::size_t threads, std::size_t waiting)
      : volumes_(volumes), pool_("volumes", threads, waiting) {}

  net::Task<> Serve(net::Exchange& exchange);

 private:
  // Shared with the work of the threads, which may outlive a coroutine.
  using TreePtr = std::shared_ptr<const volume::Tree>;

  net::AsyncResult<Answer> Upload(net::Exchange& exchange, TreePtr tree);
  net::AsyncResult<> Download(net::Exchange& exchange, TreePtr tree);
  net::AsyncResult<Answer> ServeEntry(net::Exchange& exchange, TreePtr tree,
                                      const std::string& kind);

  volume::Volumes& volumes_;
  WorkerPool pool_;
};

}  // namespace tinderbox::api
