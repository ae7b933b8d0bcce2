// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/file_service.h"

#include "agent/rpc.h"

namespace tinderbox::agent {

net::Task<> FileService::Serve(net::Exchange& exchange) {
  co_await RespondError(exchange, 501, state_.default_user);
}
net::Task<> FileService::ServeCompose(net::Exchange& exchange) {
  co_await RespondError(exchange, 501, state_.default_user);
}

}  // namespace tinderbox::agent
