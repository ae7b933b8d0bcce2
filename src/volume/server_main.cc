// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox-volume: serves one volume to one guest, over a connection that the daemon has made.
//
//   tinderbox-volume PATH RESERVE_BYTES
//
// Descriptors: 3 the connection, 4 the volume's mount (attached nowhere), 5 the line to the daemon,
// which gets one byte when the guest has mounted, and whose end is ours, 6 the volume's Usage.
// PATH is a directory to mount on for a moment. Exit codes: 0 the connection ended, 1 the guest
// broke the protocol, 2 it could not begin.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "sys/fd.h"
#include "volume/fuse_server.h"
#include "volume/server_jail.h"
#include "volume/usage.h"

namespace tinderbox::volume {
namespace {

constexpr int kConnection = 3;
constexpr int kTree = 4;
constexpr int kDaemon = 5;
constexpr int kUsage = 6;

// Waits until the connection is ready for `events`; false where the daemon is gone.
bool Await(short events) {
  for (;;) {
    pollfd ready[2] = {{kConnection, events, 0}, {kDaemon, POLLIN, 0}};
    if (::poll(ready, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return false;
    }
    if (ready[1].revents != 0) return false;
    if (ready[0].revents != 0) return true;
  }
}

bool SendAll(std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = ::send(kConnection, data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      data.remove_prefix(static_cast<std::size_t>(n));
    } else if (n < 0 && errno == EAGAIN) {
      if (!Await(POLLOUT)) return false;
    } else if (n == 0 || errno != EINTR) {
      return false;
    }
  }
  return true;
}

int Serve(FuseServer& server) {
  std::vector<char> buffer(2 * FuseServer::kMaxRequest);
  std::size_t begin = 0;
  std::size_t end = 0;
  bool told = false;
  for (;;) {
    std::uint32_t length = 0;
    if (end - begin >= sizeof length) {
      std::memcpy(&length, buffer.data() + begin, sizeof length);
      if (length < sizeof(fuse_in_header) || length > FuseServer::kMaxRequest) return 1;
      if (end - begin >= length) {
        std::string_view answer;
        if (!server.Handle({buffer.data() + begin, length}, answer)) return 1;
        begin += length;
        if (!SendAll(answer)) return 0;
        if (server.ready() && !told) {
          told = true;
          if (::send(kDaemon, "r", 1, MSG_NOSIGNAL) != 1) return 0;
        }
        continue;
      }
    }
    std::memmove(buffer.data(), buffer.data() + begin, end - begin);
    end -= begin;
    begin = 0;
    if (!Await(POLLIN)) return 0;
    const ssize_t n = ::recv(kConnection, buffer.data() + end, buffer.size() - end, MSG_DONTWAIT);
    if (n > 0) {
      end += static_cast<std::size_t>(n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
      return 0;
    }
  }
}

int Run(const char* path, std::uint64_t reserve) {
  // The daemon's line ends with it, too; this holds even where we no longer look at that.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_DUMPABLE, 0);
  const auto usage = Usage::Map(sys::UniqueFd(kUsage));
  if (!usage) return 2;
  sys::UniqueFd root;
  {
    const sys::UniqueFd tree(kTree);
    if (!EnterJail(tree, path)) return 2;
    root.Reset(::openat(tree.get(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
  if (!root) return 2;
  FuseServer server(std::move(root), reserve, *usage);
  return Serve(server);
}

}  // namespace
}  // namespace tinderbox::volume

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  // No destructors: what they would call is not ours to call any more.
  ::_exit(tinderbox::volume::Run(argv[1], std::strtoull(argv[2], nullptr, 10)));
}
