// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "store/store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <mutex>
#include <utility>

#include "base/split.h"
#include "store/internal/event_table.h"
#include "store/internal/json_map.h"
#include "store/internal/key_table.h"
#include "store/internal/migrations.h"
#include "store/internal/secret_table.h"
#include "store/internal/sqlite.h"

namespace tinderbox::store {
namespace {

using base::Code;
using base::Fail;
using base::Result;
using internal::Database;
using internal::MapFromJson;
using internal::MapToJson;
using internal::Statement;
using internal::Transaction;
using List = std::vector<std::string>;
using Ports = std::vector<std::uint16_t>;

// In the order of Bind and Read.
constexpr char kColumns[] =
    "id, state, cause, template_id, template_name, started_at, end_at, memory_mib, cpus, disk_mib, "
    "metadata, env, access_token, allow_internet, egress_proxy, vmm, accelerator, choice_reason, "
    "slot, uid, run_dir, exit_code, exit_detail, timings, started_by, on_timeout, auto_pause_mode, "
    "auto_resume, pause_mode, agent_silent, allow_out, deny_out, network_pending, "
    "allow_names, dns_servers, transforms, traffic_token, mask_host, https_ports, volume_mounts, "
    "execution_id, execution_at, warden_pid, warden_start, boot_id";
constexpr char kParameters[] =
    "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, "
    "?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30, ?31, ?32, ?33, ?34, ?35, ?36, ?37, ?38, "
    "?39, ?40, ?41, ?42, ?43, ?44, ?45";

std::string ToJson(const List& list) {
  return boost::json::serialize(boost::json::array(list.begin(), list.end()));
}

Result<List> ListFromJson(const std::string& text) {
  boost::system::error_code error;
  const auto value = boost::json::parse(text, error);
  if (error || !value.is_array()) return Fail(Code::kDataLoss, "read a list: it is no JSON array");
  List list;
  for (const auto& item : value.as_array()) {
    if (!item.is_string()) return Fail(Code::kDataLoss, "read a list: a value is no string");
    list.emplace_back(item.as_string());
  }
  return list;
}

std::string ToJson(const Ports& ports) {
  return boost::json::serialize(boost::json::array(ports.begin(), ports.end()));
}

Result<Ports> PortsFromJson(const std::string& text) {
  boost::system::error_code error;
  const auto value = boost::json::parse(text, error);
  if (error || !value.is_array())
    return Fail(Code::kDataLoss, "read ports: they are no JSON array");
  Ports ports;
  for (const auto& item : value.as_array()) {
    const auto port = item.to_number<std::uint16_t>(error);
    if (error) return Fail(Code::kDataLoss, "read ports: one is no port");
    ports.push_back(port);
  }
  return ports;
}

std::string ToJson(const SandboxRecord::EgressProxy& proxy) {
  return MapToJson(std::map<std::string, std::string>{
      {"address", proxy.address}, {"username", proxy.username}, {"password", proxy.password}});
}

Result<SandboxRecord::EgressProxy> ProxyFromJson(const std::string& text) {
  auto map = TRY(MapFromJson(text));
  return SandboxRecord::EgressProxy{
      .address = map["address"], .username = map["username"], .password = map["password"]};
}

void BindRecord(Statement& s, const SandboxRecord& r) {
  s.Bind(1, r.id).Bind(2, r.state).Bind(3, r.cause).Bind(4, r.template_id).Bind(5, r.template_name);
  s.Bind(6, r.started_at).Bind(7, r.end_at).Bind(8, std::int64_t{r.memory_mib});
  s.Bind(9, std::int64_t{r.cpus}).Bind(10, static_cast<std::int64_t>(r.disk_mib));
  s.Bind(11, MapToJson(r.metadata)).Bind(12, MapToJson(r.env)).Bind(13, r.access_token);
  s.Bind(14, std::int64_t{r.allow_internet}).Bind(16, r.vmm);
  if (r.egress_proxy) {
    s.Bind(15, ToJson(*r.egress_proxy));
  } else {
    s.BindNull(15);
  }
  s.Bind(17, r.accelerator).Bind(18, r.choice_reason).Bind(19, std::int64_t{r.slot});
  s.Bind(20, std::int64_t{r.uid}).Bind(21, r.run_dir);
  if (r.exit_code) {
    s.Bind(22, std::int64_t{*r.exit_code});
  } else {
    s.BindNull(22);
  }
  s.Bind(23, r.exit_detail).Bind(24, r.timings).Bind(25, r.started_by).Bind(26, r.on_timeout);
  s.Bind(27, r.auto_pause_mode).Bind(28, std::int64_t{r.auto_resume}).Bind(29, r.pause_mode);
  s.Bind(30, std::int64_t{r.agent_silent}).Bind(31, ToJson(r.allow_out));
  s.Bind(32, ToJson(r.deny_out)).Bind(33, std::int64_t{r.network_pending});
  s.Bind(34, ToJson(r.allow_names));
  if (r.dns_servers) {
    s.Bind(35, ToJson(*r.dns_servers));
  } else {
    s.BindNull(35);
  }
  s.Bind(36, r.transforms).Bind(37, r.traffic_token).Bind(38, r.mask_host);
  s.Bind(39, ToJson(r.https_ports)).Bind(40, MapToJson(r.volume_mounts));
  s.Bind(41, r.execution_id).Bind(42, r.execution_at).Bind(43, r.warden_pid);
  s.Bind(44, r.warden_start).Bind(45, r.boot_id);
}

Result<SandboxRecord> ReadRecord(const Statement& s) {
  SandboxRecord r;
  r.id = s.Text(0);
  r.state = s.Text(1);
  r.cause = s.Text(2);
  r.template_id = s.Text(3);
  r.template_name = s.Text(4);
  r.started_at = s.Integer(5);
  r.end_at = s.Integer(6);
  r.memory_mib = static_cast<std::uint32_t>(s.Integer(7));
  r.cpus = static_cast<std::uint32_t>(s.Integer(8));
  r.disk_mib = static_cast<std::uint64_t>(s.Integer(9));
  r.metadata = TRY_CTX(MapFromJson(s.Text(10)), fmt::format("read metadata of sandbox '{}'", r.id));
  r.env = TRY_CTX(MapFromJson(s.Text(11)), fmt::format("read environment of sandbox '{}'", r.id));
  r.access_token = s.Text(12);
  r.allow_internet = s.Integer(13) != 0;
  if (!s.IsNull(14)) {
    r.egress_proxy =
        TRY_CTX(ProxyFromJson(s.Text(14)), fmt::format("read the proxy of sandbox '{}'", r.id));
  }
  r.vmm = s.Text(15);
  r.accelerator = s.Text(16);
  r.choice_reason = s.Text(17);
  r.slot = static_cast<std::uint32_t>(s.Integer(18));
  r.uid = static_cast<std::uint32_t>(s.Integer(19));
  r.run_dir = s.Text(20);
  if (!s.IsNull(21)) r.exit_code = static_cast<int>(s.Integer(21));
  r.exit_detail = s.Text(22);
  r.timings = s.Text(23);
  r.started_by = s.Text(24);
  r.on_timeout = s.Text(25);
  r.auto_pause_mode = s.Text(26);
  r.auto_resume = s.Integer(27) != 0;
  r.pause_mode = s.Text(28);
  r.agent_silent = s.Integer(29) != 0;
  r.allow_out = TRY_CTX(ListFromJson(s.Text(30)), fmt::format("read rules of sandbox '{}'", r.id));
  r.deny_out = TRY_CTX(ListFromJson(s.Text(31)), fmt::format("read rules of sandbox '{}'", r.id));
  r.network_pending = s.Integer(32) != 0;
  r.allow_names =
      TRY_CTX(ListFromJson(s.Text(33)), fmt::format("read rules of sandbox '{}'", r.id));
  if (!s.IsNull(34)) {
    r.dns_servers =
        TRY_CTX(ListFromJson(s.Text(34)), fmt::format("read name servers of sandbox '{}'", r.id));
  }
  r.transforms = s.Text(35);
  r.traffic_token = s.Text(36);
  r.mask_host = s.Text(37);
  r.https_ports =
      TRY_CTX(PortsFromJson(s.Text(38)), fmt::format("read ports of sandbox '{}'", r.id));
  r.volume_mounts =
      TRY_CTX(MapFromJson(s.Text(39)), fmt::format("read volume mounts of sandbox '{}'", r.id));
  r.execution_id = s.Text(40);
  r.execution_at = s.Integer(41);
  r.warden_pid = s.Integer(42);
  r.warden_start = s.Integer(43);
  r.boot_id = s.Text(44);
  return r;
}

// Column names out of kColumns, each put into `format`, which may have it twice.
std::string EachColumn(std::string_view format, const List& names) {
  std::string text;
  for (const std::string& name : names) {
    if (!text.empty()) text += ", ";
    text += fmt::format(fmt::runtime(format), name);
  }
  return text;
}

List ColumnNames() {
  List names;
  for (std::string_view name : base::Split(kColumns, ',')) {
    while (name.starts_with(' ')) name.remove_prefix(1);
    names.emplace_back(name);
  }
  return names;
}

// The columns of an exported record. All must be known here.
Result<List> ColumnsOf(const std::string& json) {
  boost::system::error_code error;
  const auto value = boost::json::parse(json, error);
  if (error || !value.is_object()) {
    return Fail(Code::kDataLoss, "read a sandbox's record: it is not a JSON object");
  }
  const List known = ColumnNames();
  List columns;
  for (const auto& [key, unused] : value.as_object()) {
    if (std::ranges::find(known, std::string_view(key)) == known.end()) {
      return Fail(Code::kDataLoss,
                  fmt::format("read a sandbox's record: it has an unknown field '{}'",
                              std::string_view(key).substr(0, 40)));
    }
    columns.emplace_back(key);
  }
  if (columns.empty()) return Fail(Code::kDataLoss, "read a sandbox's record: it is empty");
  return columns;
}

class SqliteStore final : public Store {
 public:
  explicit SqliteStore(Database database) : database_(std::move(database)) {}

  Result<> InsertSandbox(const SandboxRecord& record) override {
    const std::lock_guard lock(mutex_);
    Statement s = TRY(database_.Prepare(
        fmt::format("INSERT INTO sandboxes ({}) VALUES ({})", kColumns, kParameters)));
    BindRecord(s, record);
    TRY_CTX(s.Step(), fmt::format("record sandbox '{}'", record.id));
    return {};
  }

  Result<SandboxRecord> GetSandbox(std::string_view id) override {
    const std::lock_guard lock(mutex_);
    Statement s =
        TRY(database_.Prepare(fmt::format("SELECT {} FROM sandboxes WHERE id = ?1", kColumns)));
    s.Bind(1, id);
    if (!TRY(s.Step())) return NoSandbox(id);
    return ReadRecord(s);
  }

  Result<std::vector<SandboxRecord>> ListSandboxes() override {
    const std::lock_guard lock(mutex_);
    Statement s = TRY(database_.Prepare(
        fmt::format("SELECT {} FROM sandboxes ORDER BY started_at, id", kColumns)));
    std::vector<SandboxRecord> records;
    while (TRY(s.Step())) records.push_back(TRY(ReadRecord(s)));
    return records;
  }

  Result<> UpdateSandbox(const SandboxRecord& record, std::string_view expected_state,
                         const std::optional<EventRecord>& event) override {
    const std::lock_guard lock(mutex_);
    auto transaction = TRY(BeginFor(event));
    Statement s = TRY(database_.Prepare(fmt::format(
        "UPDATE sandboxes SET ({}) = ({}) WHERE id = ?1 AND state = ?46", kColumns, kParameters)));
    BindRecord(s, record);
    s.Bind(46, expected_state);
    TRY_CTX(s.Step(), fmt::format("record sandbox '{}'", record.id));
    if (database_.changes() == 1) return Commit(transaction, event);
    Statement now = TRY(database_.Prepare("SELECT state FROM sandboxes WHERE id = ?1"));
    now.Bind(1, record.id);
    const bool there = TRY(now.Step());
    return Fail(Code::kAborted,
                fmt::format("record sandbox '{}' as {}: it is {}, not {}, by now", record.id,
                            record.state, there ? now.Text(0) : "gone", expected_state));
  }

  Result<> DeleteSandbox(std::string_view id, const std::optional<EventRecord>& event) override {
    const std::lock_guard lock(mutex_);
    auto transaction = TRY(BeginFor(event));
    Statement s = TRY(database_.Prepare("DELETE FROM sandboxes WHERE id = ?1"));
    s.Bind(1, id);
    TRY_CTX(s.Step(), fmt::format("forget sandbox '{}'", id));
    if (database_.changes() == 0) return {};
    return Commit(transaction, event);
  }

  Result<std::string> ExportSandbox(std::string_view id) override {
    const std::lock_guard lock(mutex_);
    Statement s =
        TRY(database_.Prepare(fmt::format("SELECT json_object({}) FROM sandboxes WHERE id = ?1",
                                          EachColumn("'{0}', {0}", ColumnNames()))));
    s.Bind(1, id);
    if (!TRY(s.Step())) return NoSandbox(id);
    return s.Text(0);
  }

  // Uses a row that is never committed: only the schema knows a column's type and default.
  Result<SandboxRecord> ParseSandbox(const std::string& json) override {
    const List columns = TRY(ColumnsOf(json));
    const std::lock_guard lock(mutex_);
    const auto rolled_back = TRY(Transaction::Begin(database_));
    Statement same =
        TRY(database_.Prepare("DELETE FROM sandboxes WHERE id = json_extract(?1, '$.id')"));
    same.Bind(1, json);
    TRY(same.Step());
    Statement in = TRY(database_.Prepare(
        fmt::format("INSERT INTO sandboxes ({}) SELECT {}", EachColumn("{}", columns),
                    EachColumn("json_extract(?1, '$.{0}')", columns))));
    in.Bind(1, json);
    if (const auto inserted = in.Step(); !inserted) {
      return Fail(Code::kDataLoss, "read a sandbox's record: " + inserted.error().message());
    }
    Statement out = TRY(database_.Prepare(
        fmt::format("SELECT {} FROM sandboxes WHERE id = json_extract(?1, '$.id')", kColumns)));
    out.Bind(1, json);
    if (!TRY(out.Step())) return Fail(Code::kInternal, "read a sandbox's record");
    return ReadRecord(out);
  }

  Result<> RecordEvent(const EventRecord& event) override {
    const std::lock_guard lock(mutex_);
    auto transaction = TRY(Transaction::Begin(database_));
    TRY(events_.Append(event));
    return transaction.Commit();
  }

  Result<> InsertVolume(const VolumeRecord& volume) override {
    const std::lock_guard lock(mutex_);
    Statement taken = TRY(database_.Prepare("SELECT 1 FROM volumes WHERE name = ?1"));
    taken.Bind(1, volume.name);
    if (TRY(taken.Step())) {
      return Fail(Code::kAlreadyExists,
                  fmt::format("a volume named '{}' exists already", volume.name));
    }
    Statement s = TRY(database_.Prepare(
        "INSERT INTO volumes (id, name, token, created_at) VALUES (?1, ?2, ?3, ?4)"));
    s.Bind(1, volume.id).Bind(2, volume.name).Bind(3, volume.token).Bind(4, volume.created_at);
    TRY_CTX(s.Step(), fmt::format("record volume '{}'", volume.name));
    return {};
  }

  Result<std::vector<VolumeRecord>> ListVolumes() override {
    const std::lock_guard lock(mutex_);
    Statement s =
        TRY(database_.Prepare("SELECT id, name, token, created_at FROM volumes ORDER BY name"));
    std::vector<VolumeRecord> volumes;
    while (TRY(s.Step())) {
      volumes.push_back(
          {.id = s.Text(0), .name = s.Text(1), .token = s.Text(2), .created_at = s.Integer(3)});
    }
    return volumes;
  }

  Result<> DeleteVolume(std::string_view id) override {
    const std::lock_guard lock(mutex_);
    Statement s = TRY(database_.Prepare("DELETE FROM volumes WHERE id = ?1"));
    s.Bind(1, id);
    TRY_CTX(s.Step(), fmt::format("forget volume '{}'", id));
    return {};
  }

  KeyTable& Keys() override { return keys_; }
  SecretTable& Secrets() override { return secrets_; }
  EventTable& Events() override { return events_; }

  Result<std::optional<std::string>> GetSetting(std::string_view name) override {
    const std::lock_guard lock(mutex_);
    Statement s = TRY(database_.Prepare("SELECT value FROM settings WHERE name = ?1"));
    s.Bind(1, name);
    if (!TRY(s.Step())) return std::optional<std::string>();
    return std::optional(s.Text(0));
  }

  Result<> SetSetting(std::string_view name, std::string_view value) override {
    const std::lock_guard lock(mutex_);
    Statement s =
        TRY(database_.Prepare("INSERT INTO settings (name, value) VALUES (?1, ?2) "
                              "ON CONFLICT (name) DO UPDATE SET value = ?2"));
    s.Bind(1, name).Bind(2, value);
    TRY_CTX(s.Step(), fmt::format("record setting '{}'", name));
    return {};
  }

 private:
  static std::unexpected<base::Error> NoSandbox(std::string_view id) {
    return Fail(Code::kNotFound, fmt::format("sandbox '{}' not found", id));
  }

  // One statement alone is a transaction of its own.
  Result<std::optional<Transaction>> BeginFor(const std::optional<EventRecord>& event) {
    if (!event) return std::optional<Transaction>();
    return std::optional<Transaction>(TRY(Transaction::Begin(database_)));
  }
  Result<> Commit(std::optional<Transaction>& transaction,
                  const std::optional<EventRecord>& event) {
    if (!event) return {};
    TRY(events_.Append(*event));
    return transaction->Commit();
  }

  std::mutex mutex_;
  Database database_;
  internal::SqliteKeys keys_{database_, mutex_};
  internal::SqliteSecrets secrets_{database_, mutex_};
  internal::SqliteEvents events_{database_, mutex_};
};

// The file holds access tokens: nobody but root may read it, from its first byte on. SQLite gives
// its -wal and -shm files the mode of the main one.
Result<> MakePrivate(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) {
    return std::unexpected(
        base::Error::FromErrno(errno, fmt::format("open database '{}'", path))
            .WithRemedy("Check that the state directory exists and is writable for root."));
  }
  const int failed = fchmod(fd, 0600) != 0 ? errno : 0;
  close(fd);
  if (failed != 0) return base::FailErrno(failed, fmt::format("make database '{}' private", path));
  return {};
}

}  // namespace

Result<std::unique_ptr<Store>> OpenStore(const std::string& path) {
  TRY(MakePrivate(path));
  Database database = TRY(Database::Open(path));
  // FULL: what was committed survives a power cut too, not only the death of this process.
  TRY_CTX(database.Execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; "
                           "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF"),
          fmt::format("open database '{}'", path));
  const std::string check =
      TRY_CTX(database.QueryText("PRAGMA quick_check(1)"), fmt::format("open database '{}'", path));
  if (check != "ok") {
    return std::unexpected(
        base::Error(Code::kDataLoss, fmt::format("open database '{}': {}", path, check))
            .WithRemedy(std::string(internal::kDamagedRemedy)));
  }
  TRY(internal::Migrate(database));
  return std::make_unique<SqliteStore>(std::move(database));
}

}  // namespace tinderbox::store
