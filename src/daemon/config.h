// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace tinderbox::daemon {

inline constexpr char kDefaultConfigPath[] = "/etc/tinderbox/tinderbox.toml";

// The daemon's configuration: packaging/tinderbox.toml documents every key, and a test compares.
// Read once, never changed.
struct Config {
  std::string listen = "127.0.0.1:3000";  // empty: no TCP port
  std::string socket = "/run/tinderbox/tinderboxd.sock";
  std::string domain;                      // empty: "localhost:<port of listen>"
  bool cors = true;                        // web pages of any origin may call the API
  std::vector<std::string> allowed_hosts;  // names in `Host`, besides our own, on loopback
  std::string tls_certificate;             // PEM; empty, like tls_key: the TCP port is plain
  std::string tls_key;
  std::string state_dir = "/var/lib/tinderbox";
  std::string run_dir = "/run/tinderbox";
  std::string warden;        // empty: beside this program, or in its libexec
  std::string agent;         // likewise
  std::string vmm = "auto";  // auto, firecracker, qemu
  std::string firecracker;   // path; empty: looked for
  std::string qemu;
  std::string log_level = "info";  // debug, info, warning, error

  struct Network {
    std::string prefix = "tb";
    std::string cidr = "10.211.0.0/16";
    std::vector<std::string> dns = {"8.8.8.8", "1.1.1.1"};
    std::uint32_t ready_slots = 8;
    std::string ca_file;  // PEM: authorities of servers besides the host's own; empty: none
    std::uint32_t connections = 0;  // of one sandbox at once; 0: its share of the host's table
    bool operator==(const Network&) const = default;
  } network;

  struct Limits {
    std::uint32_t sandboxes = 512;
    std::string cgroup = "tinderbox";
    bool enforce = true;
    std::uint32_t uid_base = 1900000000;
    std::chrono::seconds boot{60};
    std::chrono::hours keep_dead{24};
    // For each sandbox's disk, per second; 0: no limit.
    std::uint64_t disk_mib = 0;
    std::uint64_t disk_operations = 0;
    bool operator==(const Limits&) const = default;
  } limits;

  // Limits of all sandboxes together. 0: the host's, minus a reserve for the host.
  struct Host {
    std::uint64_t memory_mib = 0;
    std::uint64_t cpus = 0;
    std::uint64_t disk_gib = 0;
    // How many times over each may be promised.
    double memory_overcommit = 1;
    double cpu_overcommit = 16;
    double disk_overcommit = 16;
    bool operator==(const Host&) const = default;
  } host;

  struct Storage {
    std::uint64_t pool_gib = 8;
    bool sparse = false;
    std::uint64_t reserve_mib = 1024;
    std::uint64_t volume_gib = 16;
    bool operator==(const Storage&) const = default;
  } storage;

  struct Images {
    std::string kernel_package = "linux-image-cloud-amd64";
    std::string suite = "bookworm";
    std::uint64_t base_disk_gib = 8;
    bool operator==(const Images&) const = default;
  } images;

  struct Pool {
    std::uint32_t ready = 2;
    std::uint32_t most = 8;
    std::uint32_t hot_templates = 4;
    std::vector<std::string> templates = {"base"};
    std::uint64_t reserve_mib = 2048;
    bool operator==(const Pool&) const = default;
  } pool;

  bool operator==(const Config&) const = default;
};

// Parses TOML. Unknown keys, wrong types and values that make no sense are kInvalidArgument; the
// message names `source`, the line and the key.
base::Result<Config> ParseConfig(std::string_view text, const std::string& source);

// The file at `path`. An absent file is an error where `must_exist`, the defaults otherwise.
base::Result<Config> LoadConfig(const std::string& path, bool must_exist);

// What ParseConfig checks besides the form; for configurations that flags have changed.
base::Result<> CheckConfig(const Config& config);

struct ListenAddress {
  std::string address;  // "127.0.0.1", "::1"
  std::uint16_t port = 0;
  bool loopback = false;
};
// "127.0.0.1:3000", "[::1]:3000"
base::Result<ListenAddress> ParseListen(std::string_view text);

// Whether the TCP port speaks TLS.
bool UsesTls(const Config& config);

// The domain of the sandboxes' host names: as configured, else on the port that was taken.
std::string DomainOf(const Config& config, std::uint16_t port);

}  // namespace tinderbox::daemon
