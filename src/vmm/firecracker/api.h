// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "base/deadline.h"
#include "base/error.h"
#include "net/http_client.h"
#include "sys/fd.h"
#include "vmm/driver.h"

// Firecracker's REST API over a connection to its unix socket. One thread of it serves one request
// after another and has no timeout of its own: every call here has a deadline.
namespace tinderbox::vmm::firecracker {

class Api {
 public:
  explicit Api(sys::UniqueFd connection) : client_(std::move(connection)) {}

  // Sends one request; yields the answer's body, of 2xx only. What it refuses (400) is
  // kInvalidArgument or kFailedPrecondition with Firecracker's own words; 503 (too many
  // connections) and a broken connection are kUnavailable. After any error but a refusal the
  // connection is dead.
  base::Result<std::string> Call(const PlannedRequest& request, base::Deadline deadline);

  // GET /
  base::Result<VmState> State(base::Deadline deadline);

 private:
  net::HttpClient client_;
};

// The message in the body of an error. Firecracker has two shapes, `fault_message` from its
// application and `error` from its HTTP layer, the latter with raw line ends inside the string,
// which is no JSON: parsed leniently, bounded and escaped. Never empty.
std::string FaultMessage(std::string_view body);

// "Not started", "Running", "Paused" out of the body of GET /. kDataLoss for anything else.
base::Result<VmState> ParseState(std::string_view body);

}  // namespace tinderbox::vmm::firecracker
