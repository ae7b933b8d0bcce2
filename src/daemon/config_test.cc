// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "daemon/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <map>

#include "daemon/doctor.h"
#include "daemon/wire.h"

namespace tinderbox::daemon {
namespace {

using base::Code;
using testing::HasSubstr;

TEST(Config, AnEmptyFileIsTheDefaults) { EXPECT_EQ(*ParseConfig("", "x"), Config{}); }

// The example documents every key with its default: read, it must give the defaults, and without
// any one of its lines still be good. A key that is added to the program only is found by the next
// test.
TEST(Config, TheExampleIsTheDefaults) {
  const auto config = LoadConfig(TINDERBOX_EXAMPLE_CONFIG, true);
  ASSERT_TRUE(config) << config.error().ToString();
  EXPECT_EQ(*config, Config{});
}

TEST(Config, TheCapacityIsWhatIsThereUnlessToldOtherwise) {
  constexpr std::uint64_t kGib = 1 << 30;
  const sandbox::Resources detected = sandbox::DetectedHost();
  const auto found = CapacityOf(Config{}, 64 * kGib);
  EXPECT_EQ(found.host, (sandbox::Resources{detected.memory_mib, detected.cpus, 63 * 1024}));
  EXPECT_EQ(found.Allocatable().memory_mib, detected.memory_mib) << "memory is promised once";
  EXPECT_EQ(CapacityOf(Config{}, kGib).host.disk_mib, 512u) << "a reserve as large as the pool";
  Config config;
  config.host = {.memory_mib = 1000, .cpus = 2, .disk_gib = 3, .memory_overcommit = 1.5};
  const auto told = CapacityOf(config, 64 * kGib);
  EXPECT_EQ(told.host, (sandbox::Resources{1000, 2, 3 * 1024}));
  EXPECT_EQ(told.Allocatable(), (sandbox::Resources{1500, 32, 48 * 1024}));
}

TEST(Config, OvercommitIsChecked) {
  EXPECT_TRUE(ParseConfig("[host.overcommit]\nmemory = 2\n", "x"));
  const auto bad = ParseConfig("[host.overcommit]\nmemory = \"2\"\n", "x");
  ASSERT_FALSE(bad);
  EXPECT_THAT(bad.error().message(), HasSubstr("'host.overcommit.memory' must be a number from"));
  EXPECT_FALSE(ParseConfig("[host.overcommit]\nmemory = 0\n", "x"));
  EXPECT_FALSE(ParseConfig("[host.overcommit]\nram = 1\n", "x"));
}

TEST(Config, EveryKeyIsReadAndIsInTheExample) {
  const auto config = ParseConfig(R"(
listen = "[::1]:4000"
socket = "/s"
domain = "box.test:4000"
cors = false
allowed_hosts = ["proxy.test"]
tls_certificate = "/c.pem"
tls_key = "/k.pem"
state_dir = "/state"
run_dir = "/run/x"
warden = "/w"
agent = "/a"
vmm = "qemu"
firecracker = "/f"
qemu = "/q"
log_level = "debug"
[network]
prefix = "tx"
cidr = "10.0.0.0/16"
dns = ["192.0.2.53"]
ready_slots = 9
ca_file = "/ca.pem"
connections = 300
[limits]
sandboxes = 7
cgroup = "tx"
enforce = false
uid_base = 100000
boot_seconds = 5
keep_dead_hours = 0
disk_mib_per_second = 50
disk_operations_per_second = 900
[host]
memory_mib = 8000
cpus = 12
disk_gib = 200
[host.overcommit]
memory = 1.5
cpus = 8
disk = 2.5
[storage]
pool_gib = 3
sparse = true
reserve_mib = 4
volume_gib = 5
[images]
kernel_package = "linux-image-amd64"
suite = "trixie"
base_disk_gib = 2
[pool]
ready = 5
most = 7
hot_templates = 3
templates = ["base", "mine"]
reserve_mib = 6
)",
                                  "x");
  ASSERT_TRUE(config) << config.error().ToString();
  EXPECT_EQ(config->listen, "[::1]:4000");
  EXPECT_EQ(config->socket, "/s");
  EXPECT_EQ(config->domain, "box.test:4000");
  EXPECT_FALSE(config->cors);
  EXPECT_EQ(config->allowed_hosts, std::vector<std::string>{"proxy.test"});
  EXPECT_EQ(config->tls_certificate, "/c.pem");
  EXPECT_EQ(config->tls_key, "/k.pem");
  EXPECT_TRUE(UsesTls(*config));
  EXPECT_EQ(config->state_dir, "/state");
  EXPECT_EQ(config->run_dir, "/run/x");
  EXPECT_EQ(config->warden, "/w");
  EXPECT_EQ(config->agent, "/a");
  EXPECT_EQ(config->vmm, "qemu");
  EXPECT_EQ(config->firecracker, "/f");
  EXPECT_EQ(config->qemu, "/q");
  EXPECT_EQ(config->log_level, "debug");
  EXPECT_EQ(config->network,
            (Config::Network{"tx", "10.0.0.0/16", {"192.0.2.53"}, 9, "/ca.pem", 300}));
  EXPECT_EQ(config->limits, (Config::Limits{7, "tx", false, 100000, std::chrono::seconds(5),
                                            std::chrono::hours(0), 50, 900}));
  EXPECT_EQ(config->host, (Config::Host{8000, 12, 200, 1.5, 8, 2.5}));
  EXPECT_EQ(config->storage, (Config::Storage{3, true, 4, 5}));
  EXPECT_EQ(config->images, (Config::Images{"linux-image-amd64", "trixie", 2}));
  EXPECT_EQ(config->pool, (Config::Pool{5, 7, 3, {"base", "mine"}, 6}));
  std::ifstream file(TINDERBOX_EXAMPLE_CONFIG);
  const std::string example((std::istreambuf_iterator<char>(file)), {});
  for (const char* key : {"listen",        "socket",      "domain",          "state_dir",
                          "run_dir",       "warden",      "agent",           "vmm",
                          "firecracker",   "qemu",        "log_level",       "prefix",
                          "cidr",          "dns",         "sandboxes",       "cgroup",
                          "enforce",       "uid_base",    "boot_seconds",    "keep_dead_hours",
                          "pool_gib",      "reserve_mib", "kernel_package",  "suite",
                          "base_disk_gib", "ready",       "hot_templates",   "templates",
                          "ready_slots",   "tls_key",     "tls_certificate", "ca_file",
                          "sparse",        "volume_gib",  "connections",     "cors",
                          "allowed_hosts", "most"}) {
    EXPECT_THAT(example, HasSubstr(std::string("\n") + key + " = "));
  }
}

TEST(Config, WhatIsWrongIsNamedWithItsLine) {
  for (const auto& [text, words] : std::map<std::string, std::vector<std::string>>{
           {"\nmemroy = 3\n", {"x.toml", "line 2", "'memroy'"}},
           {"[network]\nprefx = \"a\"", {"line 2", "'network.prefx'"}},
           {"[netwrok]\n", {"'netwrok'"}},
           {"listen = 3000", {"line 1", "'listen'", "string"}},
           {"listen = \"3000\"", {"listen", "127.0.0.1:3000"}},
           {"listen = \"localhost:3000\"", {"listen"}},
           {"listen = \"127.0.0.1:70000\"", {"listen"}},
           {"listen = \"::1:3000\"", {"listen"}},
           {"cors = \"*\"", {"line 1", "'cors'", "true or false"}},
           {"allowed_hosts = \"a\"", {"allowed_hosts", "list"}},
           {"allowed_hosts = [\"*\"]", {"allowed_hosts", "host name"}},
           {"allowed_hosts = [\".\"]", {"allowed_hosts", "host name"}},
           {"allowed_hosts = [\"a:80\"]", {"allowed_hosts", "host name"}},
           {"vmm = \"xen\"", {"vmm", "xen"}},
           {"log_level = \"loud\"", {"log_level"}},
           {"run_dir = \"run\"", {"run_dir", "absolute"}},
           {"state_dir = \"/a/\"", {"state_dir"}},
           {"socket = \"\"", {"socket"}},
           {"qemu = \"qemu\"", {"qemu"}},
           {"tls_key = \"/k\"", {"tls_key", "needs tls_certificate"}},
           {"tls_certificate = \"/c\"", {"tls_certificate", "needs tls_key"}},
           {"tls_certificate = \"c\"\ntls_key = \"/k\"", {"tls_certificate", "absolute"}},
           {"[network]\ndns = \"8.8.8.8\"", {"network.dns", "list"}},
           {"[network]\ndns = [\"dns.test\"]", {"network.dns"}},
           {"[limits]\nsandboxes = 0", {"limits.sandboxes"}},
           {"[limits]\nenforce = \"yes\"", {"limits.enforce"}},
           {"[limits]\nboot_seconds = 1.5", {"limits.boot_seconds"}},
           {"limits = 3", {"'limits'", "table"}},
           {"a = \n", {"x.toml", "line 1"}},
           {"listen = \"a", {"line 1"}}}) {
    const auto config = ParseConfig(text, "x.toml");
    ASSERT_FALSE(config) << text;
    EXPECT_EQ(config.error().code(), Code::kInvalidArgument);
    for (const std::string& word : words) EXPECT_THAT(config.error().ToString(), HasSubstr(word));
  }
}

TEST(Config, AFileThatIsNotThereIsTheDefaultsUnlessItWasNamed) {
  EXPECT_EQ(*LoadConfig("/nonexistent/x.toml", false), Config{});
  const auto named = LoadConfig("/nonexistent/x.toml", true);
  ASSERT_FALSE(named);
  EXPECT_THAT(named.error().ToString(), HasSubstr("/nonexistent/x.toml"));
}

TEST(Config, ListenAddresses) {
  EXPECT_TRUE(ParseListen("127.0.0.1:3000")->loopback);
  EXPECT_TRUE(ParseListen("127.1.2.3:3000")->loopback);
  EXPECT_TRUE(ParseListen("[::1]:0")->loopback);
  EXPECT_FALSE(ParseListen("0.0.0.0:80")->loopback);
  EXPECT_FALSE(ParseListen("[::]:80")->loopback);
  EXPECT_EQ(ParseListen("[::1]:65535")->port, 65535);
}

TEST(Config, TheDomainIsLocalhostUnlessConfigured) {
  EXPECT_EQ(DomainOf({}, 3000), "localhost:3000");
  EXPECT_EQ(DomainOf({}, 0), "");
  EXPECT_EQ(DomainOf({.domain = "box.test"}, 3000), "box.test");
}

TEST(Doctor, KernelVersionsAreRead) {
  EXPECT_EQ(KernelVersion("6.1.0-41-cloud-amd64"), std::pair(6, 1));
  EXPECT_EQ(KernelVersion("5.10"), std::pair(5, 10));
  EXPECT_EQ(KernelVersion("nonsense"), std::pair(0, 0));
}

}  // namespace
}  // namespace tinderbox::daemon
