// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "network/slot_pool.h"
#include "sys/fd.h"
#include "sys/netlink_address.h"

// A whole small network inside this machine for the tests: a namespace that plays the host, one
// that plays the internet with documentation addresses, and guests behind the TAPs of real slots.
// No packet ever leaves these namespaces, whatever the rules under test let through.
namespace tinderbox::network::testing {

// A prefix that no other test process of this machine has at this time.
std::string UniquePrefix();

// Puts the calling thread (and those it starts later) into a fresh namespace that plays the host,
// with loopback up; the destructor brings it back.
class PlayedHost {
 public:
  PlayedHost();
  ~PlayedHost();
  PlayedHost(const PlayedHost&) = delete;
  PlayedHost& operator=(const PlayedHost&) = delete;

 private:
  sys::UniqueFd home_;
};

// Runs a command of the test (never of the product), such as `ip`; its output, trimmed. Fails the
// test where it fails.
std::string Tool(const std::vector<std::string>& argv);

// Takes the place of a table of family inet in the calling thread's network namespace: an empty one
// of that name, which only its owner (a process that this starts) may change or remove. It goes
// with this object. So the host's own rules are gone, however often a program rebuilds them.
class SeizedTable {
 public:
  explicit SeizedTable(const std::string& table);
  ~SeizedTable();
  SeizedTable(const SeizedTable&) = delete;
  SeizedTable& operator=(const SeizedTable&) = delete;

 private:
  sys::UniqueFd hold_;
  pid_t owner_ = -1;
};

// TCP and UDP echo servers in one namespace, bound to every address on some ports. What they are
// sent comes back with "echo:" in front.
class EchoServer {
 public:
  EchoServer(sys::FdRef netns, std::vector<std::uint16_t> ports, int family = 2 /*AF_INET*/);
  ~EchoServer();
  EchoServer(const EchoServer&) = delete;
  EchoServer& operator=(const EchoServer&) = delete;

  // The peer of the last connection or datagram: "192.0.2.2".
  std::string last_peer() const;
  int served() const { return served_; }
  // The largest TCP segment that the last connection's two ends agreed on, in bytes.
  int last_segment_size() const { return last_segment_size_; }

 private:
  void Serve();
  void ServeTcp(int listener);
  void ServeUdp(int socket);

  std::vector<sys::UniqueFd> sockets_;
  std::vector<bool> is_tcp_;
  sys::UniqueFd stop_;
  std::atomic<int> served_ = 0;
  std::atomic<int> last_segment_size_ = 0;
  std::atomic<std::uint32_t> last_peer_ = 0;
  std::thread thread_;
};

// The internet: a namespace behind one link of the played host, which routes everything to it. It
// has the addresses 192.0.2.1, 198.51.100.1 and 203.0.113.1, and also owns private ones that nobody
// may reach, and answers on ports 80 and 53 at all of them.
class Internet {
 public:
  Internet();
  sys::FdRef netns() const { return netns_; }
  EchoServer& server() { return *server_; }
  EchoServer& server6() { return *server6_; }

 private:
  sys::UniqueFd netns_;
  std::unique_ptr<EchoServer> server_;
  std::unique_ptr<EchoServer> server6_;
};

// A guest without a VM: a namespace whose only interface is the far end of the slot's TAP, with the
// guest's address and MAC. Frames are pumped by a thread, as a VMM does.
class Guest {
 public:
  explicit Guest(const Slot& slot);
  Guest(const Slot& slot, sys::UniqueFd netns);  // in a namespace that is there already
  ~Guest();
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;
  sys::FdRef netns() const { return netns_; }

 private:
  void Pump();

  sys::UniqueFd netns_;
  sys::UniqueFd slot_tap_;
  sys::UniqueFd guest_tap_;
  sys::UniqueFd stop_;
  std::thread thread_;
};

enum class Protocol { kTcp, kUdp };

// Runs `work` in a child process and returns its exit code (128 + signal where one ended it). The
// child has this process's namespaces and inherits nothing else of note. Call it only while this
// process has one thread.
int InChild(const std::function<int()>& work);

// One exchange with an echo server: 0 where the answer came, else the errno (ETIMEDOUT after
// `patience`). `source`, where not empty, is bound to first (which must be an address of `netns`).
int Exchange(sys::FdRef netns, Protocol protocol, const std::string& address, std::uint16_t port,
             std::chrono::milliseconds patience, const std::string& source = {});

}  // namespace tinderbox::network::testing
