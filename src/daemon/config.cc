// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "daemon/config.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>
#include <optional>
#include <set>

#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include "sys/file.h"

namespace tinderbox::daemon {
namespace {

using base::Code;
using base::Result;

constexpr std::size_t kMaxFile = 1 << 20;

// One table of the file. The first thing that is wrong is kept; Finish tells it, or the first key
// that nobody asked for.
class TableReader {
 public:
  TableReader(const toml::table& table, std::string name, std::string source)
      : table_(table), name_(std::move(name)), source_(std::move(source)) {}

  void Read(std::string_view key, std::string& into) {
    const toml::node* node = Find(key);
    if (node == nullptr) return;
    if (const auto value = node->value_exact<std::string>()) {
      into = *value;
    } else {
      Fail(*node, key, "must be a string");
    }
  }
  void Read(std::string_view key, bool& into) {
    const toml::node* node = Find(key);
    if (node == nullptr) return;
    if (const auto value = node->value_exact<bool>()) {
      into = *value;
    } else {
      Fail(*node, key, "must be true or false");
    }
  }
  template <typename Number>
  void ReadNumber(std::string_view key, Number& into, std::int64_t min, std::int64_t max) {
    const toml::node* node = Find(key);
    if (node == nullptr) return;
    const auto value = node->value_exact<std::int64_t>();
    if (value && *value >= min && *value <= max) {
      into = Number(*value);
    } else {
      Fail(*node, key, fmt::format("must be an integer from {} to {}", min, max));
    }
  }
  void ReadFactor(std::string_view key, double& into, double min, double max) {
    const toml::node* node = Find(key);
    if (node == nullptr) return;
    // An integer is a number, too.
    const auto value = node->value<double>();
    if (node->is_number() && value && *value >= min && *value <= max) {
      into = *value;
    } else {
      Fail(*node, key, fmt::format("must be a number from {} to {}", min, max));
    }
  }
  void Read(std::string_view key, std::vector<std::string>& into) {
    const toml::node* node = Find(key);
    if (node == nullptr) return;
    std::vector<std::string> values;
    const toml::array* array = node->as_array();
    bool good = array != nullptr;
    for (std::size_t i = 0; good && i < array->size(); ++i) {
      const auto value = (*array)[i].value_exact<std::string>();
      good = value.has_value();
      if (good) values.push_back(*value);
    }
    if (good) {
      into = std::move(values);
    } else {
      Fail(*node, key, "must be a list of strings");
    }
  }
  const toml::table* Table(std::string_view key) {
    const toml::node* node = Find(key);
    if (node == nullptr) return nullptr;
    if (!node->is_table()) Fail(*node, key, "must be a table");
    return node->as_table();
  }

  Result<> Finish() {
    for (const auto& [key, node] : table_) {
      if (!asked_.contains(key.str())) Fail(node, key.str(), "is not a key that is known here");
    }
    if (error_) return std::unexpected(*error_);
    return {};
  }

 private:
  const toml::node* Find(std::string_view key) {
    asked_.emplace(key);
    return table_.get(key);
  }
  void Fail(const toml::node& node, std::string_view key, std::string_view problem) {
    if (error_) return;
    error_ =
        base::Error(Code::kInvalidArgument,
                    fmt::format("read '{}', line {}: '{}{}' {}", source_, node.source().begin.line,
                                name_, key, problem))
            .WithRemedy(
                "Correct the line; packaging/tinderbox.toml of the sources explains every key.");
  }

  const toml::table& table_;
  const std::string name_;
  const std::string source_;
  std::set<std::string, std::less<>> asked_;
  std::optional<base::Error> error_;
};

Result<> ReadNetwork(const toml::table& table, const std::string& source, Config::Network& out) {
  TableReader reader(table, "network.", source);
  reader.Read("prefix", out.prefix);
  reader.Read("cidr", out.cidr);
  reader.Read("dns", out.dns);
  reader.ReadNumber("ready_slots", out.ready_slots, 0, 256);
  reader.Read("ca_file", out.ca_file);
  reader.ReadNumber("connections", out.connections, 0, 65536);
  return reader.Finish();
}

Result<> ReadLimits(const toml::table& table, const std::string& source, Config::Limits& out) {
  TableReader reader(table, "limits.", source);
  reader.ReadNumber("sandboxes", out.sandboxes, 1, 16384);
  reader.Read("cgroup", out.cgroup);
  reader.Read("enforce", out.enforce);
  reader.ReadNumber("uid_base", out.uid_base, 65536, 4294900000);
  reader.ReadNumber("boot_seconds", out.boot, 1, 3600);
  reader.ReadNumber("keep_dead_hours", out.keep_dead, 0, 24 * 365);
  reader.ReadNumber("disk_mib_per_second", out.disk_mib, 0, 1 << 20);
  reader.ReadNumber("disk_operations_per_second", out.disk_operations, 0, 1 << 30);
  return reader.Finish();
}

Result<> ReadHost(const toml::table& table, const std::string& source, Config::Host& out) {
  TableReader reader(table, "host.", source);
  reader.ReadNumber("memory_mib", out.memory_mib, 0, 1 << 30);
  reader.ReadNumber("cpus", out.cpus, 0, 1 << 20);
  reader.ReadNumber("disk_gib", out.disk_gib, 0, 1 << 30);
  if (const auto* factors = reader.Table("overcommit")) {
    TableReader factor(*factors, "host.overcommit.", source);
    factor.ReadFactor("memory", out.memory_overcommit, 0.1, 1000);
    factor.ReadFactor("cpus", out.cpu_overcommit, 0.1, 1000);
    factor.ReadFactor("disk", out.disk_overcommit, 0.1, 1000);
    TRY(factor.Finish());
  }
  return reader.Finish();
}

Result<> ReadStorage(const toml::table& table, const std::string& source, Config::Storage& out) {
  TableReader reader(table, "storage.", source);
  reader.ReadNumber("pool_gib", out.pool_gib, 1, 1 << 20);
  reader.Read("sparse", out.sparse);
  reader.ReadNumber("reserve_mib", out.reserve_mib, 0, 1 << 30);
  reader.ReadNumber("volume_gib", out.volume_gib, 0, 1 << 20);
  return reader.Finish();
}

Result<> ReadImages(const toml::table& table, const std::string& source, Config::Images& out) {
  TableReader reader(table, "images.", source);
  reader.Read("kernel_package", out.kernel_package);
  reader.Read("suite", out.suite);
  reader.ReadNumber("base_disk_gib", out.base_disk_gib, 1, 1024);
  return reader.Finish();
}

Result<> ReadPool(const toml::table& table, const std::string& source, Config::Pool& out) {
  TableReader reader(table, "pool.", source);
  reader.ReadNumber("ready", out.ready, 0, 64);
  reader.ReadNumber("most", out.most, 0, 64);
  reader.ReadNumber("hot_templates", out.hot_templates, 1, 64);
  reader.Read("templates", out.templates);
  reader.ReadNumber("reserve_mib", out.reserve_mib, 0, 1 << 30);
  return reader.Finish();
}

std::unexpected<base::Error> Wrong(std::string_view key, std::string_view value,
                                   std::string_view problem) {
  return base::Fail(Code::kInvalidArgument,
                    fmt::format("configuration: {} = \"{}\" {}", key, value, problem));
}

// Without a port. One label alone ("box") is a name, too; "*" is not.
bool IsHostName(std::string_view text) {
  const auto good = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  };
  return !text.empty() && text.size() <= 253 && std::ranges::all_of(text, good) &&
         !text.starts_with('.') && !text.ends_with('.') && !text.contains("..");
}

Result<> CheckPaths(const Config& config) {
  for (const auto& [key, path] :
       {std::pair<std::string_view, std::string_view>{"socket", config.socket},
        {"state_dir", config.state_dir},
        {"run_dir", config.run_dir}}) {
    if (!path.starts_with('/')) return Wrong(key, path, "must be an absolute path");
    if (path.size() > 1 && path.ends_with('/'))
      return Wrong(key, path, "must not end with a slash");
  }
  for (const auto& [key, path] :
       {std::pair<std::string_view, std::string_view>{"warden", config.warden},
        {"agent", config.agent},
        {"tls_certificate", config.tls_certificate},
        {"tls_key", config.tls_key},
        {"firecracker", config.firecracker},
        {"qemu", config.qemu}}) {
    if (!path.empty() && !path.starts_with('/'))
      return Wrong(key, path, "must be an absolute path");
  }
  // A socket's name has 107 bytes at most, and a VM's API socket stands below run_dir.
  if (config.socket.size() > 107) return Wrong("socket", config.socket, "is longer than 107 bytes");
  if (config.run_dir.size() > 60)
    return Wrong("run_dir", config.run_dir, "is longer than 60 bytes");
  return {};
}

}  // namespace

Result<ListenAddress> ParseListen(std::string_view text) {
  ListenAddress out;
  const auto colon = text.rfind(':');
  std::string_view host = text.substr(0, colon == text.npos ? 0 : colon);
  const std::string_view port = colon == text.npos ? "" : text.substr(colon + 1);
  const bool brackets = host.starts_with('[') && host.ends_with(']');
  if (brackets) host = host.substr(1, host.size() - 2);
  out.address = host;
  in6_addr v6{};
  in_addr v4{};
  const bool good_host = brackets ? inet_pton(AF_INET6, out.address.c_str(), &v6) == 1
                                  : inet_pton(AF_INET, out.address.c_str(), &v4) == 1;
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), out.port);
  if (!good_host || error != std::errc() || end != port.data() + port.size()) {
    return Wrong("listen", text, "is not of the form 127.0.0.1:3000 or [::1]:3000");
  }
  out.loopback = brackets ? IN6_IS_ADDR_LOOPBACK(&v6) : (ntohl(v4.s_addr) >> 24) == 127;
  return out;
}

Result<> CheckConfig(const Config& config) {
  if (!config.listen.empty()) TRY(ParseListen(config.listen));
  TRY(CheckPaths(config));
  const auto one_of = [](std::string_view value, std::initializer_list<std::string_view> known) {
    return std::ranges::find(known, value) != known.end();
  };
  if (config.tls_certificate.empty() != config.tls_key.empty()) {
    const bool has_key = !config.tls_key.empty();
    return Wrong(has_key ? "tls_key" : "tls_certificate",
                 has_key ? config.tls_key : config.tls_certificate,
                 fmt::format("needs {} beside it", has_key ? "tls_certificate" : "tls_key"));
  }
  if (!one_of(config.vmm, {"auto", "firecracker", "qemu"})) {
    return Wrong("vmm", config.vmm, "must be auto, firecracker or qemu");
  }
  if (!one_of(config.log_level, {"debug", "info", "warning", "error"})) {
    return Wrong("log_level", config.log_level, "must be debug, info, warning or error");
  }
  for (const std::string& host : config.allowed_hosts) {
    if (!IsHostName(host)) return Wrong("allowed_hosts", host, "is not a host name");
  }
  for (const std::string& server : config.network.dns) {
    in_addr address{};
    if (inet_pton(AF_INET, server.c_str(), &address) != 1) {
      return Wrong("network.dns", server, "is no IPv4 address");
    }
  }
  return {};
}

Result<Config> ParseConfig(std::string_view text, const std::string& source) {
  toml::parse_result parsed = toml::parse(text, source);
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    return std::unexpected(base::Error(Code::kInvalidArgument,
                                       fmt::format("read '{}', line {}: {}", source,
                                                   error.source().begin.line, error.description()))
                               .WithRemedy("Correct the line."));
  }
  Config config;
  TableReader reader(parsed.table(), "", source);
  reader.Read("listen", config.listen);
  reader.Read("socket", config.socket);
  reader.Read("domain", config.domain);
  reader.Read("cors", config.cors);
  reader.Read("allowed_hosts", config.allowed_hosts);
  reader.Read("tls_certificate", config.tls_certificate);
  reader.Read("tls_key", config.tls_key);
  reader.Read("state_dir", config.state_dir);
  reader.Read("run_dir", config.run_dir);
  reader.Read("warden", config.warden);
  reader.Read("agent", config.agent);
  reader.Read("vmm", config.vmm);
  reader.Read("firecracker", config.firecracker);
  reader.Read("qemu", config.qemu);
  reader.Read("log_level", config.log_level);
  if (const auto* table = reader.Table("network")) TRY(ReadNetwork(*table, source, config.network));
  if (const auto* table = reader.Table("limits")) TRY(ReadLimits(*table, source, config.limits));
  if (const auto* table = reader.Table("host")) TRY(ReadHost(*table, source, config.host));
  if (const auto* table = reader.Table("storage")) TRY(ReadStorage(*table, source, config.storage));
  if (const auto* table = reader.Table("images")) TRY(ReadImages(*table, source, config.images));
  if (const auto* table = reader.Table("pool")) TRY(ReadPool(*table, source, config.pool));
  TRY(reader.Finish());
  TRY_CTX(CheckConfig(config), fmt::format("read '{}'", source));
  return config;
}

Result<Config> LoadConfig(const std::string& path, bool must_exist) {
  if (!must_exist && !sys::Exists(path)) return Config{};
  const std::string text =
      TRY_CTX(sys::ReadFile(path, kMaxFile), fmt::format("read configuration '{}'", path));
  return ParseConfig(text, path);
}

bool UsesTls(const Config& config) { return !config.tls_certificate.empty(); }

std::string DomainOf(const Config& config, std::uint16_t port) {
  if (!config.domain.empty() || port == 0) return config.domain;
  // Browsers and most resolvers take every name below "localhost" for this machine.
  return fmt::format("localhost:{}", port);
}

}  // namespace tinderbox::daemon
