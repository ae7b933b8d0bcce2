// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <poll.h>
#include <stddef.h>

#include "warden/protocol.h"
#include "warden/text.h"

namespace tinderbox::warden {

// The clients of the control socket. Never blocks, never grows: a client that is slow, silent or
// greedy loses its place, and nobody else notices.
class Control {
 public:
  static constexpr size_t kMaxClients = 32;

  explicit Control(int listener) : listener_(listener) {}

  // Fills in what to poll: the listener first, then the clients. Yields the number of entries, at
  // most 1 + kMaxClients.
  size_t Prepare(pollfd* entries) const;
  // Takes what poll answered on these entries, and calls `handle(context, command)` for each
  // complete line; what it returns is the answer, or null where the client waits for the end.
  using Handler = const char* (*)(void* context, Command command);
  void Dispatch(const pollfd* entries, size_t count, Handler handle, void* context);
  // The VM has ended: `line` to every client that waits.
  void Announce(const Line& line);

 private:
  struct Client {
    int fd = -1;
    bool waits = false;
    size_t size = 0;
    unsigned long serial = 0;  // order of arrival
    char line[kMaxControlLine] = {};
  };

  void Accept();
  void Read(Client* client, Handler handle, void* context);
  // False where the client was hung up on.
  bool Answer(Client* client, Command command, Handler handle, void* context);
  static void Drop(Client* client);

  int listener_;
  unsigned long next_serial_ = 1;
  Client clients_[kMaxClients];
};

}  // namespace tinderbox::warden
