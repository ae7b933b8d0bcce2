// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The HTTP client, towards a peer that says anything at all: an agent or a VMM that was taken over.
#include <sys/socket.h>

#include "net/http_client.h"
#include "tests/fuzz/fuzz.h"

namespace tinderbox {
namespace {

constexpr std::size_t kMaxBody = 8192;

// The client's end of a connection on which all of `said` has come already.
sys::UniqueFd PeerThatSays(std::string_view said, sys::UniqueFd& peer) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return {};
  sys::UniqueFd ours(ends[0]);
  peer = sys::UniqueFd(ends[1]);
  (void)::send(peer.get(), said.data(), said.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  ::shutdown(peer.get(), SHUT_WR);
  return ours;
}

}  // namespace
}  // namespace tinderbox

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tinderbox;
  const std::string_view said = fuzz::Text(data, size);
  const base::Deadline deadline = base::Deadline::After(std::chrono::seconds(5));
  sys::UniqueFd peer;
  net::HttpClient client(PeerThatSays(said, peer));
  // Again and again on one connection, as long as the client itself says that this may be.
  for (int i = 0; i < 20; ++i) {
    const auto answer = client.Request({.target = "/x"}, deadline, kMaxBody);
    if (!answer) {
      fuzz::Require(!client.reusable(), "a connection that failed is not used again");
      break;
    }
    fuzz::Require(answer->body.size() <= kMaxBody, "a body is within its bound");
    fuzz::Require(answer->status >= 200 && answer->status <= 999, "an answer is final");
    if (!client.reusable()) break;
  }
  (void)net::ParseEndpoint(said);
  return 0;
}
