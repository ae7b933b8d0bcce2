// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "warden/control.h"

#include <sys/socket.h>

#include "warden/kernel.h"

namespace tinderbox::warden {
namespace {

// Short enough for the empty buffer of a fresh socket; what does not fit is lost to that client.
void Send(int fd, const char* text, size_t size) {
  Call(__NR_sendto, fd, text, size, MSG_DONTWAIT | MSG_NOSIGNAL, nullptr, 0);
}

bool IsRoot(int fd) {
  struct {
    int pid;
    unsigned uid;
    unsigned gid;
  } peer = {};
  unsigned size = sizeof peer;
  return Call(__NR_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) >= 0 && peer.uid == 0;
}

}  // namespace

size_t Control::Prepare(pollfd* entries) const {
  entries[0] = {listener_, POLLIN, 0};
  for (size_t i = 0; i < kMaxClients; ++i) entries[1 + i] = {clients_[i].fd, POLLIN, 0};
  return 1 + kMaxClients;
}

void Control::Dispatch(const pollfd* entries, size_t count, Handler handle, void* context) {
  for (size_t i = 1; i < count; ++i) {
    // Only what was polled: Accept, below, may fill places anew.
    if (entries[i].revents != 0 && clients_[i - 1].fd == entries[i].fd) {
      Read(&clients_[i - 1], handle, context);
    }
  }
  if (entries[0].revents != 0) Accept();
}

void Control::Accept() {
  const long fd = Call(__NR_accept4, listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  // The socket's mode and its directory keep others out already; this holds even without them.
  if (!IsRoot(static_cast<int>(fd))) {
    Close(static_cast<int>(fd));
    return;
  }
  // A free place, else that of the oldest. Waiters lose nothing by that: they have the pidfd too.
  Client* place = &clients_[0];
  for (Client& client : clients_) {
    if (client.fd < 0) {
      place = &client;
      break;
    }
    if (client.serial < place->serial) place = &client;
  }
  Drop(place);
  place->fd = static_cast<int>(fd);
  place->serial = next_serial_++;
}

void Control::Drop(Client* client) {
  Close(client->fd);
  client->fd = -1;
  client->waits = false;
  client->size = 0;
}

void Control::Read(Client* client, Handler handle, void* context) {
  const long n =
      Call(__NR_read, client->fd, client->line + client->size, sizeof client->line - client->size);
  if (n == -EAGAIN || n == -EINTR) return;
  if (n <= 0) return Drop(client);
  client->size += static_cast<size_t>(n);
  size_t begin = 0;
  for (size_t i = 0; i < client->size; ++i) {
    if (client->line[i] != '\n') continue;
    const Command command = ParseCommand(client->line + begin, i - begin);
    begin = i + 1;
    if (!Answer(client, command, handle, context)) return;
  }
  memmove(client->line, client->line + begin, client->size - begin);
  client->size -= begin;
  if (client->size == sizeof client->line) Drop(client);
}

bool Control::Answer(Client* client, Command command, Handler handle, void* context) {
  if (command.verb == Verb::kBad) {
    Send(client->fd, "error\n", 6);
    Drop(client);
    return false;
  }
  const char* answer = handle(context, command);
  if (command.verb != Verb::kStatus) client->waits = true;
  if (answer != nullptr) Send(client->fd, answer, strlen(answer));
  return true;
}

void Control::Announce(const Line& line) {
  for (Client& client : clients_) {
    if (client.fd >= 0 && client.waits) Send(client.fd, line.data(), line.size());
    Drop(&client);
  }
}

}  // namespace tinderbox::warden
