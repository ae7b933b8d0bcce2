// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// bench_server PORT   the other end of bench_proxy, as small as it can be: what is measured is the
// way to it. A thread per connection; a request is read up to its empty line.
//   GET /BYTES     that many bytes, over HTTP/1.1
//   POST /         reads what Content-Length says, answers 204
//   DOWN BYTES     that many bytes, and nothing else: plain TCP
//   UP BYTES       reads that many bytes, answers with one
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr std::size_t kBlock = 256 << 10;

bool Send(int fd, const char* data, std::size_t length) {
  while (length > 0) {
    const ssize_t n = ::send(fd, data, length, MSG_NOSIGNAL);
    if (n <= 0) return false;
    data += n;
    length -= static_cast<std::size_t>(n);
  }
  return true;
}

bool SendBlocks(int fd, std::size_t bytes) {
  static const std::vector<char> block(kBlock, 'x');
  while (bytes > 0) {
    const std::size_t now = std::min(bytes, kBlock);
    if (!Send(fd, block.data(), now)) return false;
    bytes -= now;
  }
  return true;
}

// `have` bytes of them were read already.
bool Drain(int fd, std::size_t bytes, std::size_t have) {
  std::vector<char> block(kBlock);
  bytes -= std::min(bytes, have);
  while (bytes > 0) {
    const ssize_t n = ::recv(fd, block.data(), std::min(bytes, kBlock), 0);
    if (n <= 0) return false;
    bytes -= static_cast<std::size_t>(n);
  }
  return true;
}

std::size_t NumberBehind(const std::string& head, const char* word) {
  const char* found = ::strcasestr(head.c_str(), word);
  return found == nullptr ? 0 : std::strtoull(found + std::strlen(word), nullptr, 10);
}

bool Answer(int fd, const std::string& head, std::size_t behind) {
  if (head.starts_with("GET /")) {
    const std::size_t bytes = NumberBehind(head, "GET /");
    const std::string answer =
        "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(bytes) + "\r\n\r\n";
    if (bytes > 1024) return Send(fd, answer.data(), answer.size()) && SendBlocks(fd, bytes);
    const std::string whole = answer + std::string(bytes, 'x');
    return Send(fd, whole.data(), whole.size());
  }
  if (head.starts_with("POST /")) {
    constexpr char kDone[] = "HTTP/1.1 204 No Content\r\n\r\n";
    return Drain(fd, NumberBehind(head, "Content-Length:"), behind) &&
           Send(fd, kDone, sizeof(kDone) - 1);
  }
  if (head.starts_with("DOWN ")) return SendBlocks(fd, NumberBehind(head, "DOWN "));
  if (head.starts_with("UP "))
    return Drain(fd, NumberBehind(head, "UP "), behind) && Send(fd, "!", 1);
  return false;
}

void Serve(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  std::string in;
  char buffer[16 << 10];
  while (true) {
    const std::size_t end = in.find("\r\n\r\n");
    if (end == std::string::npos) {
      const ssize_t n = ::recv(fd, buffer, sizeof(buffer), 0);
      if (n <= 0 || in.size() > sizeof(buffer)) break;
      in.append(buffer, static_cast<std::size_t>(n));
      continue;
    }
    const std::string head = in.substr(0, end + 4);
    in.erase(0, end + 4);
    // No client of the bench sends a request before it has the answer to the one before.
    if (!Answer(fd, head, in.size())) break;
    in.clear();
  }
  ::close(fd);
}

}  // namespace

int main(int argc, char** argv) {
  const int port = argc == 2 ? std::atoi(argv[1]) : 0;
  if (port <= 0) {
    std::fprintf(stderr, "usage: bench_server PORT\n");
    return 2;
  }
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      ::listen(listener, 512) != 0) {
    std::perror("bench_server: listen");
    return 1;
  }
  while (true) {
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) std::thread(Serve, fd).detach();
  }
}
