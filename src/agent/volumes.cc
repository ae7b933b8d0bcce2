// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/volumes.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fuse.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "agent/freeze.h"
#include "agent/init.h"
#include "agent/rpc.h"
#include "agent/state.h"
#include "base/log.h"
#include "sys/file.h"

namespace tinderbox::agent {
namespace {

constexpr std::size_t kLargest = (1 << 20) + (64 << 10);  // the kernel's own limit, and room

bool SendAll(const sys::UniqueFd& to, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t n = ::send(to.get(), data, size, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    data += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

bool ReceiveAll(const sys::UniqueFd& from, char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t n = ::recv(from.get(), data, size, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    data += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

std::optional<std::string> QueryOf(const net::RequestHead& head, std::string_view wanted) {
  for (auto& [name, value] : net::ParseQuery(head.query)) {
    if (name == wanted) return std::move(value);
  }
  return std::nullopt;
}

base::Result<sys::UniqueFd> MountFuse(const std::string& path, const std::string& name) {
  auto device = TRY(sys::Open("/dev/fuse", O_RDWR | O_NONBLOCK));
  TRY(sys::MakeDirs(path));
  // The guest's own kernel checks its users' permissions; programs and devices of other sandboxes
  // get no privileges here.
  const std::string options = fmt::format(
      "fd={},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other", device.get());
  if (::mount(name.c_str(), path.c_str(), "fuse.tinderbox", MS_NOSUID | MS_NODEV,
              options.c_str()) != 0) {
    return base::FailErrno(errno, fmt::format("mount a volume at '{}'", path));
  }
  return device;
}

// Out of asio's hands, for the threads that wait in the kernel.
base::Result<sys::UniqueFd> TakeConnection(net::UpgradedSocket upgraded) {
  boost::system::error_code ec;
  sys::UniqueFd fd(upgraded.stream.socket().release(ec));
  if (ec || !fd) return base::FailErrno(ec.value(), "take over the connection");
  const int flags = ::fcntl(fd.get(), F_GETFL);
  const int on = 1;
  if (::fcntl(fd.get(), F_SETFL, flags & ~O_NONBLOCK) != 0 ||
      ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
    return base::FailErrno(errno, "set up the connection");
  }
  return fd;
}

}  // namespace

FuseRelay::FuseRelay(sys::UniqueFd device, sys::UniqueFd connection)
    : device_(std::move(device)),
      connection_(std::move(connection)),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  // Signals are the loop's: a thread that took one could not act on it.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  to_host_ = std::thread([this] { ToHost(); });
  to_kernel_ = std::thread([this] { ToKernel(); });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

FuseRelay::~FuseRelay() {
  ::shutdown(connection_.get(), SHUT_RDWR);
  (void)!::eventfd_write(stop_.get(), 1);
  to_host_.join();
  to_kernel_.join();
}

// One of the two has ended: the other follows, and the last one closes the device, on which the
// kernel fails all that waits for an answer.
void FuseRelay::End() {
  ::shutdown(connection_.get(), SHUT_RDWR);
  (void)!::eventfd_write(stop_.get(), 1);
  if (running_.fetch_sub(1) == 1) device_.Reset();
}

void FuseRelay::ToHost() {
  std::vector<char> message(kLargest);
  for (;;) {
    pollfd ready[2] = {{device_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    if (::poll(ready, 2, -1) < 0 && errno != EINTR) break;
    if (ready[1].revents != 0) break;
    const ssize_t n = ::read(device_.get(), message.data(), message.size());
    // ENOENT: whoever asked gave up at the last moment. ENODEV: it is unmounted.
    if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOENT)) continue;
    if (n <= 0 || !SendAll(connection_, message.data(), static_cast<std::size_t>(n))) break;
  }
  End();
}

void FuseRelay::ToKernel() {
  std::vector<char> message(kLargest);
  for (;;) {
    fuse_out_header head{};
    if (!ReceiveAll(connection_, message.data(), sizeof head)) break;
    std::memcpy(&head, message.data(), sizeof head);
    if (head.len < sizeof head || head.len > message.size()) break;
    if (!ReceiveAll(connection_, message.data() + sizeof head, head.len - sizeof head)) break;
    // ENOENT: nobody waits for this answer any more.
    if (::write(device_.get(), message.data(), head.len) < 0 && errno != ENOENT && errno != EINTR) {
      break;
    }
  }
  End();
}

void Volumes::Detach(const std::string& path) {
  // Before the unmounting: what it finds is dead then, and nothing waits.
  mounts_[path].reset();
  mounts_.erase(path);
  if (::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0 && errno != EINVAL &&
      errno != ENOENT) {
    base::LogWarning("cannot unmount a volume",
                     {{"path", path}, {"error", base::Error::FromErrno(errno, "").ToString()}});
  }
}

void Volumes::DetachAll() {
  while (!mounts_.empty()) Detach(std::string(mounts_.begin()->first));
}

net::Task<> Volumes::Serve(net::Exchange& exchange, const AgentState& state) {
  if (!co_await AdmitHost(exchange, state)) co_return;
  const net::RequestHead& head = exchange.head();
  const std::string path = QueryOf(head, "path").value_or("");
  const std::string name = QueryOf(head, "name").value_or("volume");
  if (!path.starts_with('/') || path.find('\0') != path.npos ||
      !net::EqualsIgnoreCase(head.headers.Get("Upgrade"), "fuse")) {
    co_return co_await RespondError(exchange, 400, "path or 'Upgrade: fuse' is missing");
  }
  if (state.freeze != nullptr) co_await state.freeze->AwaitThaw();
  if (mounts_.contains(path)) Detach(path);
  base::Result<sys::UniqueFd> device = MountFuse(path, name);
  if (!device) co_return co_await RespondError(exchange, 500, device.error().ToString());
  net::HeaderList headers;
  headers.Add("Connection", "Upgrade");
  headers.Add("Upgrade", "fuse");
  base::Result<net::UpgradedSocket> upgraded = co_await exchange.Upgrade(std::move(headers));
  base::Result<sys::UniqueFd> connection = base::Fail(base::Code::kUnavailable, "the host left");
  if (upgraded) connection = TakeConnection(*std::move(upgraded));
  if (!connection) {
    device->Reset();
    ::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    co_return;
  }
  // Another call for this path may have come while this one answered.
  mounts_[path].reset();
  mounts_[path] = std::make_unique<FuseRelay>(*std::move(device), *std::move(connection));
}

}  // namespace tinderbox::agent
