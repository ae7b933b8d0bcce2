// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "agent/state.h"
#include "net/http_server.h"

namespace tinderbox::agent {

// POST /tunnel?port=N with "Upgrade: tcp", for the host alone: 101, and from there on the bytes of
// a connection to port N of the guest's own loopback. So the proxy reaches servers that listen on
// 127.0.0.1 or ::1 only, as most do while they are developed. 502 where nobody listens there
// either.
net::Task<> ServeTunnel(net::Exchange& exchange, const AgentState& state);

}  // namespace tinderbox::agent
