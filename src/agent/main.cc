// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox-agent: process 1 of every sandbox's VM, serving the envd API. Started by hand it serves
// the same API as an ordinary process, which is how tests drive it without a VM.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <charconv>
#include <cstring>

#include "agent/agent.h"
#include "agent/boot.h"
#include "agent/guest_address.h"
#include "base/log.h"
#include "schema/envd_version.h"
#include "sys/file.h"

namespace tinderbox::agent {
namespace {

constexpr char kUsage[] =
    "usage: tinderbox-agent [--address IP] [--port N]\n"
    "Serves the envd API (default 127.0.0.1, port 49983; port 0 takes a free one and prints it).\n"
    "As process 1 of a VM it takes no options and prepares the whole guest first.\n";

long MillisecondsSinceBoot() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

// One line for whoever watches the console or started us, in one write.
void SayReady(std::uint16_t port, long began) {
  const std::string line = fmt::format(
      "tinderbox-agent ready: port {}, envd {}, {} ms after boot, {} ms of its own\n", port,
      schema::kEnvdVersion, MillisecondsSinceBoot(), MillisecondsSinceBoot() - began);
  (void)!::write(STDOUT_FILENO, line.data(), line.size());
}

// Descriptors 0 to 2 must be taken, or a socket could become somebody's standard stream.
void FillStandardStreams() {
  int fd = 0;
  do {
    fd = ::open("/dev/null", O_RDWR);
  } while (fd >= 0 && fd < 3);
  if (fd >= 3) ::close(fd);
}

base::Result<> RunAsInit() {
  const long began = MillisecondsSinceBoot();
  TRY(MountEarly());
  FillStandardStreams();
  TRY(LoadModules());
  TRY(BringNetworkUp());
  // Listening already: the host's first connection waits in the kernel while the disk is mounted,
  // instead of being refused and tried again later.
  boost::asio::io_context io(1);
  AgentState state;
  state.host_only_routes = true;
  Agent agent(io, std::move(state));
  const std::uint16_t port = TRY(agent.Listen("0.0.0.0", kAgentPort));
  const BootOptions options = ParseCommandLine(sys::ReadFile("/proc/cmdline").value_or(""));
  TRY(EnterRoot(options));
  Configure(options);
  // How the programs of an image ask process 1 to end the machine.
  boost::asio::signal_set ending(io, SIGTERM, SIGINT);
  for (const int signal : {SIGUSR1, SIGUSR2, SIGPWR}) ending.add(signal);
  ending.async_wait([](boost::system::error_code ec, int signal) {
    if (!ec) EndGuest(fmt::format("signal {}", signal));
  });
  SayReady(port, began);
  io.run();
  return base::Fail(base::Code::kInternal, "the agent's loop ended");
}

base::Result<> RunAsProcess(const std::string& address, std::uint16_t port) {
  const long began = MillisecondsSinceBoot();
  FillStandardStreams();
  boost::asio::io_context io(1);
  Agent agent(io, AgentState{});
  const std::uint16_t bound = TRY(agent.Listen(address, port));
  boost::asio::signal_set ending(io, SIGTERM, SIGINT);
  ending.async_wait([&](boost::system::error_code, int) { io.stop(); });
  SayReady(bound, began);
  io.run();
  return {};
}

// The options' values; usage and exit where they are wrong.
int Main(int argc, char** argv) {
  // A client that leaves must not end the agent.
  ::signal(SIGPIPE, SIG_IGN);
  if (::getpid() == 1) {
    const base::Result<> ended = RunAsInit();
    EndGuest(ended ? "end" : ended.error().ToString());
  }
  std::string address = "127.0.0.1";
  std::uint16_t port = kAgentPort;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    const std::string_view value = i + 1 < argc ? argv[++i] : "";
    const char* end = value.data() + value.size();
    if (option == "--address" && !value.empty()) {
      address = value;
    } else if (option != "--port" || std::from_chars(value.data(), end, port).ptr != end ||
               value.empty()) {
      const bool help = option == "--help" || option == "-h";
      (void)!::write(help ? 1 : 2, kUsage, sizeof(kUsage) - 1);
      return help ? 0 : 2;
    }
  }
  const base::Result<> ran = RunAsProcess(address, port);
  if (ran) return 0;
  base::LogError(ran.error().ToString());
  return 1;
}

}  // namespace
}  // namespace tinderbox::agent

int main(int argc, char** argv) { return tinderbox::agent::Main(argc, argv); }
