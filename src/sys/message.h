// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "base/deadline.h"
#include "base/error.h"
#include "sys/fd.h"

// Whole messages, with descriptors and with the sender's identity, between processes of one host.
namespace tinderbox::sys {

// Two ends of a SOCK_SEQPACKET connection, close-on-exec.
base::Result<std::pair<UniqueFd, UniqueFd>> MessagePair();
// From now on what arrives at `socket` carries its sender's pid.
base::Result<> ReceiveSenders(FdRef socket);

// Sends one message; blocks only where the socket's buffer is full. At most 253 descriptors.
base::Result<> SendMessage(FdRef socket, std::span<const std::byte> data,
                           std::span<const int> fds = {});

struct ReceivedMessage {
  std::size_t size = 0;  // 0: the other end has hung up
  pid_t sender = 0;      // in this process's pid namespace; 0 without ReceiveSenders
};
// Receives one message into `buffer`; a longer one is an error. kDeadlineExceeded.
base::Result<ReceivedMessage> ReceiveMessage(FdRef socket, std::span<std::byte> buffer,
                                             base::Deadline deadline);

// Waits until `socket` can be read or has been hung up on; false where `deadline` passes first.
base::Result<bool> WaitReadable(FdRef socket, base::Deadline deadline);

// A listening unix stream socket at `name` in `directory`, mode 0600 whatever the umask.
base::Result<UniqueFd> ListenUnixAt(FdRef directory, const std::string& name);
// Connects to the socket that `path_fd` (O_PATH) refers to; never waits: EAGAIN where the
// listener's backlog is full, ECONNREFUSED where nobody listens. The connection itself is a
// blocking one.
base::Result<UniqueFd> ConnectUnixFd(FdRef path_fd);

}  // namespace tinderbox::sys
