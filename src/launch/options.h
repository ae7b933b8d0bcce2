// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/error.h"

// The command line as values: one struct per command, filled by ParseArguments.
namespace tinderbox::launch {

struct StartOptions {
  std::string id;
  std::string vmm;     // "firecracker" or "qemu"
  std::string binary;  // of the VMM; empty: looked for
  std::string kernel;
  std::string initrd;
  std::string rootfs;
  bool rootfs_read_only = false;
  std::string netns;  // name or path
  std::string tap;
  std::string mac;
  std::uint32_t memory_mib = 128;
  std::uint32_t cpus = 1;
  std::string cmdline;
  bool detach = false;
  bool timings = false;
  uid_t uid = 0;  // 0: one that follows from the id
  gid_t gid = 0;
  std::chrono::milliseconds grace{10000};
  std::string fail_at;
};
struct WaitOptions {
  std::string id;
};
struct StopOptions {
  std::string id;
  std::optional<std::chrono::milliseconds> grace;
};
struct ListOptions {};
struct ConsoleOptions {
  std::string id;
  bool follow = false;
};

struct Options {
  std::string run_dir = "/run/tinderbox/launch";
  bool json = false;
  std::variant<StartOptions, WaitOptions, StopOptions, ListOptions, ConsoleOptions> command;
};

// Either options, or what is to be printed instead (help, version, a complaint) and the exit code.
struct Printed {
  std::string text;
  int exit_code = 0;
};
std::variant<Options, Printed> ParseArguments(int argc, const char* const* argv);

// "10s", "500ms", "2m", "1h"; a number alone counts seconds. At most 24 hours.
base::Result<std::chrono::milliseconds> ParseGrace(std::string_view text);

}  // namespace tinderbox::launch
