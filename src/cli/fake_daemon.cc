// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/fake_daemon.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <chrono>
#include <cstring>
#include <optional>

#include "base/base64.h"
#include "net/connect_frame.h"
#include "net/http_client.h"
#include "sys/file.h"

namespace tinderbox::cli {

namespace json = boost::json;

class FakeDaemon::Connection {
 public:
  explicit Connection(int fd) : fd_(fd) {}

  std::optional<Request> Read() {
    std::size_t head_end;
    while ((head_end = in_.find("\r\n\r\n")) == std::string::npos) {
      if (!Fill()) return std::nullopt;
    }
    Request request;
    const std::string head = in_.substr(0, head_end + 2);
    in_.erase(0, head_end + 4);
    const auto line_end = head.find("\r\n");
    const auto space = head.find(' ');
    request.method = head.substr(0, space);
    request.target = head.substr(space + 1, head.rfind(' ', line_end) - space - 1);
    for (auto at = line_end + 2; at < head.size();) {
      const auto end = head.find("\r\n", at);
      const auto colon = head.find(": ", at);
      std::string name = head.substr(at, colon - at);
      std::ranges::transform(name, name.begin(), [](char c) { return std::tolower(c); });
      request.headers[name] = head.substr(colon + 2, end - colon - 2);
      at = end + 2;
    }
    if (request.headers.contains("content-length")) {
      request.body = Take(std::stoul(request.headers["content-length"]));
    } else if (request.headers["transfer-encoding"] == "chunked") {
      for (std::size_t size; (size = std::stoul(Line(), nullptr, 16)) > 0; Line()) {
        request.body += Take(size);
      }
      Line();
    }
    return request;
  }
  bool Send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t n = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      text.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  void Answer(int status, std::string_view body) {
    Send(fmt::format(
        "HTTP/1.1 {} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}", status,
        body.size(), body));
  }
  void Answer(int status, const json::value& body) { Answer(status, json::serialize(body)); }
  bool Chunk(std::string_view data) {
    return Send(fmt::format("{:x}\r\n", data.size())) && Send(data) && Send("\r\n");
  }
  bool Event(const json::value& event) {
    return Chunk(net::EncodeConnectFrame(0, json::serialize(json::object{{"event", event}})));
  }
  bool Data(const char* stream, std::string_view bytes) {
    return Event({{"data", {{stream, base::EncodeBase64(bytes)}}}});
  }
  void Exit(int code) {
    Event({{"end",
            {{"exitCode", code},
             {"exited", true},
             {"status", fmt::format("exit status {}", code)}}}});
  }
  void EndStream() {
    Chunk(net::EncodeConnectEnd());
    Send("0\r\n\r\n");
  }
  bool dead() const {
    char byte;
    return ::recv(fd_, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
  }
  void Break() { ::shutdown(fd_, SHUT_RDWR); }

 private:
  bool Fill() {
    char buffer[65536];
    const ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
    if (n <= 0) return false;
    in_.append(buffer, static_cast<std::size_t>(n));
    return true;
  }
  std::string Take(std::size_t size) {
    while (in_.size() < size && Fill()) {
    }
    std::string taken = in_.substr(0, size);
    in_.erase(0, size);
    return taken;
  }
  std::string Line() {
    while (in_.find("\r\n") == std::string::npos && Fill()) {
    }
    std::string line = in_.substr(0, in_.find("\r\n"));
    in_.erase(0, line.size() + 2);
    return line.empty() ? "0" : line;
  }

  int fd_;
  std::string in_;
};

FakeDaemon::FakeDaemon(std::string socket_path) : path_(std::move(socket_path)) {
  ::unlink(path_.c_str());
  listener_.Reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path_.c_str(), sizeof address.sun_path - 1);
  // A failure shows as a client that finds nobody.
  static_cast<void>(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address));
  ::listen(listener_.get(), 100);
  accepting_ = std::thread([this] { Accept(); });
}

FakeDaemon::~FakeDaemon() {
  {
    const std::scoped_lock lock(mutex_);
    stopping_ = true;
    for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
  }
  changed_.notify_all();
  ::shutdown(listener_.get(), SHUT_RDWR);
  accepting_.join();
  for (std::thread& each : threads_) each.join();
  ::unlink(path_.c_str());
}

namespace {

// Looks at the head of what comes first; the connection stays on one side for good.
bool IsForAgent(int fd) {
  std::string head(8192, '\0');
  const ssize_t n = ::recv(fd, head.data(), head.size(), MSG_PEEK);
  return n > 0 && head.substr(0, static_cast<std::size_t>(n)).contains("\r\nE2b-Sandbox-Id:");
}

// Copies until either side has ended.
void CopyBothWays(int one, int two) {
  std::string buffer(std::size_t{64} << 10, '\0');
  for (;;) {
    pollfd entries[] = {{.fd = one, .events = POLLIN, .revents = 0},
                        {.fd = two, .events = POLLIN, .revents = 0}};
    if (::poll(entries, 2, -1) < 0) return;
    for (int i = 0; i < 2; ++i) {
      if (entries[i].revents == 0) continue;
      const ssize_t n = ::recv(entries[i].fd, buffer.data(), buffer.size(), 0);
      if (n <= 0) return;
      if (!sys::WriteAll(sys::FdRef::Borrow(entries[1 - i].fd),
                         std::string_view(buffer).substr(0, static_cast<std::size_t>(n)))) {
        return;
      }
    }
  }
}

}  // namespace

void FakeDaemon::Splice(int client) {
  const auto agent = net::ConnectTo({.host = "127.0.0.1", .port = agent_port_},
                                    base::Deadline::After(std::chrono::seconds(5)));
  if (!agent) return;
  const int flags = ::fcntl(agent->get(), F_GETFL);
  ::fcntl(agent->get(), F_SETFL, flags & ~O_NONBLOCK);
  CopyBothWays(client, agent->get());
}

void FakeDaemon::Accept() {
  for (;;) {
    const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    const std::scoped_lock lock(mutex_);
    open_.push_back(fd);
    threads_.emplace_back([this, fd] {
      if (agent_port_ != 0 && IsForAgent(fd)) {
        Splice(fd);
      } else {
        Connection connection(fd);
        Serve(connection);
      }
      const std::scoped_lock closing(mutex_);
      ::shutdown(fd, SHUT_RDWR);
      open_.remove(fd);
      ::close(fd);
    });
  }
}

std::vector<std::string> FakeDaemon::sandboxes() {
  const std::scoped_lock lock(mutex_);
  std::vector<std::string> ids;
  for (const auto& [id, sandbox] : sandboxes_) ids.push_back(id);
  return ids;
}

void FakeDaemon::AddSandbox(const std::string& id, const std::string& name,
                            const std::string& state) {
  const std::scoped_lock lock(mutex_);
  sandboxes_[id] = {{"sandboxID", id},
                    {"alias", "base"},
                    {"templateID", "base"},
                    {"state", state},
                    {"cpuCount", 1},
                    {"memoryMB", 256},
                    {"metadata", {{"name", name}}},
                    {"envdAccessToken", "token-of-" + id},
                    {"startedAt", "2026-01-01T00:00:00Z"},
                    {"endAt", "2026-01-01T01:00:00Z"}};
}

std::vector<FakeDaemon::Request> FakeDaemon::Seen(const std::string& prefix) {
  const std::scoped_lock lock(mutex_);
  std::vector<Request> found;
  for (const Request& each : seen_) {
    if (each.target.starts_with(prefix)) found.push_back(each);
  }
  return found;
}

void FakeDaemon::Serve(Connection& connection) {
  while (const auto request = connection.Read()) {
    {
      const std::scoped_lock lock(mutex_);
      seen_.push_back(*request);
    }
    if (!request->headers.contains("e2b-sandbox-id")) {
      Control(connection, *request);
    } else if (request->target.starts_with("/files?")) {
      Files(connection, *request);
    } else if (request->target == "/process.Process/Start") {
      Start(connection, *request);
    } else {
      AgentCall(connection, *request);
    }
  }
}

void FakeDaemon::RevokeKeys() {
  const std::scoped_lock lock(mutex_);
  keys_.clear();
}

bool FakeDaemon::HostCall(Connection& connection, const Request& request) {
  const std::scoped_lock lock(mutex_);
  if (request.target == "/tinderbox/v1/info") {
    connection.Answer(200, json::object{{"apiUrl", "unix://" + path_}});
  } else if (request.target == "/tinderbox/v1/api-keys" && request.method == "GET") {
    json::array all;
    for (int i = 1; i <= made_keys_; ++i) {
      all.push_back(json::object{{"id", fmt::format("id{}", i)},
                                 {"label", "label"},
                                 {"createdAt", "t1"},
                                 {"lastUsedAt", nullptr},
                                 {"expiresAt", "t2"},
                                 {"expired", true}});
    }
    connection.Answer(200, all);
  } else if (request.target.starts_with("/tinderbox/v1/api-keys/id9")) {
    connection.Answer(404, json::object{{"code", 404}, {"message", "API key 'id9' not found"}});
  } else if (request.method == "DELETE" && request.target.starts_with("/tinderbox/v1/api-keys/")) {
    connection.Answer(204, std::string_view());
  } else if (request.target.starts_with("/tinderbox/v1/api-keys")) {
    keys_.push_back(fmt::format("e2b_{:040}", ++made_keys_));
    connection.Answer(201, json::object{{"key", keys_.back()}});
  } else if (request.target == "/tinderbox/v1/api-key") {
    const auto key = request.headers.find("x-api-key");
    const bool good = key != request.headers.end() && std::ranges::count(keys_, key->second) > 0;
    connection.Answer(good ? 204 : 404, std::string_view(good ? "" : R"({"message":"key"})"));
  } else {
    return false;
  }
  return true;
}

void FakeDaemon::SetAutoResume(const std::string& id) {
  const std::scoped_lock lock(mutex_);
  sandboxes_[id]["lifecycle"] = {{"onTimeout", "pause"}, {"autoResume", true}};
  sandboxes_[id]["pauseMode"] = "full";
}

void FakeDaemon::AddTemplate(const std::string& id, const std::string& name,
                             const std::string& sandbox) {
  const std::scoped_lock lock(mutex_);
  templates_[id] = {{"templateID", id},
                    {"names", name.empty() ? json::array() : json::array{name}},
                    {"isSnapshot", !sandbox.empty()},
                    {"sourceSandbox", sandbox},
                    {"hasMemory", true},
                    {"ready", true},
                    {"storedBytes", 5 << 20},
                    {"createdAt", "2026-01-01T00:00:00Z"}};
}

bool FakeDaemon::LifecycleCall(Connection& connection, const Request& request) {
  const std::string path = request.target.substr(0, request.target.find('?'));
  const std::string last = path.substr(path.rfind('/') + 1);
  const std::scoped_lock lock(mutex_);
  const json::object started{{"sandboxID", "i3kabc"},
                             {"startedBy", "restore"},
                             {"timingsMs", {{"network", 1.25}, {"total", 20}}}};
  const auto missing = [&] {
    connection.Answer(404, json::object{{"code", 404}, {"message", "template not found"}});
    return true;
  };
  if (request.method == "POST" && last == "pause") {
    connection.Answer(204, std::string_view());
  } else if (request.method == "POST" && last == "resume") {
    connection.Answer(201, started);
  } else if (request.method == "POST" && last == "rollback") {
    connection.Answer(200, started);
  } else if (request.method == "POST" && last == "fork") {
    json::array children;
    children.push_back({{"sandbox", {{"sandboxID", "ichild"}}}});
    if (json::parse(request.body).at("count").as_int64() > 1) {
      children.push_back({{"error", {{"code", 429}, {"message", "no slot"}, {"remedy", "Wait."}}}});
    }
    connection.Answer(201, children);
  } else if (request.method == "POST" && last == "snapshots") {
    connection.Answer(201, json::object{{"snapshotID", "s1:default"}, {"names", json::array()}});
  } else if (path == "/tinderbox/v1/templates") {
    json::array all;
    for (const auto& [id, info] : templates_) all.push_back(info);
    connection.Answer(200, all);
  } else if (path == "/tinderbox/v1/prune") {
    connection.Answer(200, json::object{{"removed", {"boot snapshot 'x'"}}, {"freedBytes", 4096}});
  } else if (last == "verify") {
    const std::string id = path.substr(24, path.rfind('/') - 24);
    if (!templates_.contains(id)) return missing();
    connection.Answer(200, json::object{{"ok", true}});
  } else if (path.starts_with("/templates/") || path.starts_with("/tinderbox/v1/templates/")) {
    if (!templates_.contains(last)) return missing();
    if (request.method == "DELETE") {
      templates_.erase(last);
      connection.Answer(204, std::string_view());
    } else {
      connection.Answer(200, templates_[last]);
    }
  } else {
    return false;
  }
  return true;
}

// 130 events, number n of sandbox "n"; the newest first, as asked for.
bool FakeDaemon::EventCall(Connection& connection, const Request& request) {
  if (!request.target.starts_with("/events/sandboxes")) return false;
  const auto number = [&](std::string_view name) {
    return std::stoul(request.target.substr(request.target.find(name) + name.size()));
  };
  json::array page;
  for (std::size_t i = number("offset="); i < 130 && page.size() < number("limit="); ++i) {
    const std::string which = std::to_string(130 - i);
    json::object data{{"detail", "memory \x1b[0m"}};
    if (i == 0) data = {{"set_timeout", nullptr}};
    page.push_back({{"id", "e" + which},
                    {"type", i == 0 ? "sandbox.lifecycle.updated" : "sandbox.lifecycle.paused"},
                    {"sandboxId", which},
                    {"timestamp", "t" + which},
                    {"eventData", data}});
  }
  connection.Answer(200, page);
  return true;
}

bool FakeDaemon::VolumeCall(Connection& connection, const Request& request) {
  const std::string& path = request.target;
  if (!path.starts_with("/volumes")) return false;
  const std::scoped_lock lock(mutex_);
  if (path == "/volumes" && request.method == "GET") {
    json::array all;
    for (const auto& [name, volume] : volumes_) all.push_back(volume);
    connection.Answer(200, all);
  } else if (path == "/volumes") {
    const std::string name(json::parse(request.body).at("name").as_string());
    volumes_[name] = {{"volumeID", "vol-" + name}, {"name", name}, {"token", "t"}};
    connection.Answer(201, volumes_[name]);
  } else {
    volumes_.erase(path.substr(path.rfind('-') + 1));
    connection.Answer(204, std::string_view());
  }
  return true;
}

bool FakeDaemon::SecretCall(Connection& connection, const Request& request) {
  const std::string path = request.target.substr(0, request.target.find('?'));
  if (!path.starts_with("/secrets")) return false;
  const std::scoped_lock lock(mutex_);
  const auto info = [this](const std::string& name) {
    return json::object{
        {"secretID", "sec_" + name}, {"name", name}, {"currentVersion", secrets_[name]}};
  };
  if (path == "/secrets" && request.method == "GET") {
    json::array all;
    for (const auto& [name, version] : secrets_) all.push_back(info(name));
    connection.Answer(200, all);
  } else if (path == "/secrets") {
    const std::string name(json::parse(request.body).at("name").as_string());
    secrets_[name] = 1;
    connection.Answer(201, info(name));
  } else if (const std::string name = path.substr(9); !secrets_.contains(name)) {
    connection.Answer(404, json::object{{"code", 404}, {"message", "secret not found"}});
  } else if (request.method == "DELETE") {
    secrets_.erase(name);
    connection.Answer(204, std::string_view());
  } else {
    ++secrets_[name];
    connection.Answer(200, info(name));
  }
  return true;
}

bool FakeDaemon::LostCall(Connection& connection, const Request& request) {
  const std::string kLost = "/tinderbox/v1/lost";
  if (!request.target.starts_with(kLost)) return false;
  const std::scoped_lock lock(mutex_);
  if (request.target == kLost) {
    json::array all;
    for (const std::string& name : lost_) {
      all.push_back(json::object{{"name", name}, {"label", "data\x1b[0m"}, {"why", "no record"}});
    }
    connection.Answer(200, all);
    return true;
  }
  const std::string rest = request.target.substr(kLost.size() + 1);
  const std::string name = rest.substr(0, rest.find('/'));
  if (lost_.erase(name) == 0) {
    connection.Answer(404, json::object{{"code", 404}, {"message", "no such entry"}});
  } else if (request.method == "DELETE") {
    connection.Answer(204, std::string_view());
  } else {
    connection.Answer(200, json::object{{"kind", "volume"}, {"id", "v1"}, {"label", "data"}});
  }
  return true;
}

void FakeDaemon::Control(Connection& connection, const Request& request) {
  if (HostCall(connection, request) || LifecycleCall(connection, request) ||
      SecretCall(connection, request) || VolumeCall(connection, request) ||
      EventCall(connection, request) || LostCall(connection, request)) {
    return;
  }
  const std::string target = request.target.substr(0, request.target.find('?'));
  if (request.method == "POST" && target == "/v2/sandboxes") {
    const json::value body = json::parse(request.body);
    if (body.at("templateID").as_string() == "none") {
      return connection.Answer(404, json::object{{"code", 404},
                                                 {"message", "template 'none' not found"},
                                                 {"remedy", "See tinderbox templates."}});
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(create_delay_ms_));
    const std::string id = fmt::format("i{:020}", ++created_);
    AddSandbox(id, "", "running");
    return connection.Answer(
        201, request.target.ends_with("timings=true")
                 ? json::object{{"sandboxID", id},
                                {"startedBy", "pool"},
                                {"timingsMs", {{"total", 15.5}}},
                                {"envdAccessToken", "secret"}}
                 : json::object{
                       {"sandboxID", id}, {"templateID", "base"}, {"envdAccessToken", "secret"}});
  }
  const std::scoped_lock lock(mutex_);
  if (target == "/tinderbox/v1/sandboxes") {
    json::array all;
    for (const auto& [id, sandbox] : sandboxes_) all.push_back(sandbox);
    return connection.Answer(200, all);
  }
  if (target.ends_with("/console")) {
    return connection.Answer(200, std::string_view("boot\r\n\x1b]0;owned\x07 done\n"));
  }
  const std::string id = target.substr(target.rfind('/') + 1);
  if (!sandboxes_.contains(id)) {
    return connection.Answer(404, json::object{{"code", 404}, {"message", "no sandbox"}});
  }
  if (request.method == "DELETE") {
    sandboxes_.erase(id);
    return connection.Answer(204, std::string_view());
  }
  connection.Answer(200, sandboxes_[id]);
}

void FakeDaemon::AgentCall(Connection& connection, const Request& request) {
  const json::value body = json::parse(request.body);
  const std::string method = request.target.substr(request.target.rfind('/') + 1);
  const std::scoped_lock lock(mutex_);
  if (method == "SendInput") {
    const auto& input = body.at("input").as_object();
    static_cast<void>(base::AppendFromBase64(process_.input, input.begin()->value().as_string()));
  } else if (method == "CloseStdin") {
    process_.closed = true;
  } else if (method == "SendSignal") {
    process_.signal = body.at("signal").as_string();
  } else if (method == "Update") {
    process_.size = json::serialize(body.at("pty").at("size"));
  } else if (method == "Stat") {
    const std::string path(body.at("path").as_string());
    if (!files_.contains(path)) {
      return connection.Answer(
          404,
          json::object{{"code", "not_found"}, {"message", "path '" + path + "' does not exist"}});
    }
    return connection.Answer(
        200, json::object{
                 {"entry",
                  {{"name", path}, {"path", path}, {"type", "FILE_TYPE_FILE"}, {"mode", 0640}}}});
  }
  changed_.notify_all();
  connection.Answer(200, json::object());
}

void FakeDaemon::Files(Connection& connection, const Request& request) {
  const std::string path = request.target.substr(request.target.find("path=") + 5);
  const std::scoped_lock lock(mutex_);
  if (request.method == "POST") {
    files_[path] = request.body;
    return connection.Answer(200, json::array{json::object{{"path", path}, {"type", "file"}}});
  }
  if (!files_.contains(path)) return connection.Answer(404, json::object{{"message", "no file"}});
  connection.Answer(200, std::string_view(files_[path]));
}

void FakeDaemon::Start(Connection& connection, const Request& request) {
  {
    const std::scoped_lock lock(mutex_);
    process_ = {};
  }
  const json::value body = json::parse(request.body.substr(net::kConnectFrameHead));
  connection.Send(
      "HTTP/1.1 200 OK\r\nContent-Type: application/connect+json\r\n"
      "Transfer-Encoding: chunked\r\n\r\n");
  Command(connection, std::string(body.at("process").at("cmd").as_string()), body);
}

template <typename Condition>
void FakeDaemon::Await(Condition condition) {
  std::unique_lock lock(mutex_);
  // Some conditions are the client's doing, of which nobody tells us.
  while (!stopping_ && !condition()) changed_.wait_for(lock, std::chrono::milliseconds(20));
}

void FakeDaemon::Command(Connection& connection, const std::string& cmd, const json::value& start) {
  if (cmd == "missing" || cmd == "forbidden") {
    const bool missing = cmd == "missing";
    connection.Chunk(net::EncodeConnectEnd(net::ConnectError{
        .code = missing ? net::ConnectCode::kNotFound : net::ConnectCode::kPermissionDenied,
        .message = "cannot execute '" + cmd + "'"}));
    connection.Send("0\r\n\r\n");
    return;
  }
  connection.Event({{"start", {{"pid", 42}}}});
  if (cmd == "streams") {
    connection.Data("stdout", "out\n");
    connection.Event({{"keepalive", json::object()}});
    connection.Data("stderr", "err\n");
    connection.Exit(7);
  } else if (cmd == "cat") {
    Await([this] { return process_.closed; });
    connection.Data("stdout", process_.input);
    connection.Exit(0);
  } else if (cmd == "big" || cmd == "endless") {
    const std::int64_t frames =
        cmd == "endless"
            ? 1 << 30
            : std::stoll(std::string(start.at("process").at("args").at(0).as_string()));
    std::string block(32 << 10, '\0');
    for (std::size_t i = 0; i < block.size(); ++i) block[i] = static_cast<char>(i * 31 + i / 256);
    const std::string frame = net::EncodeConnectFrame(
        0, R"({"event":{"data":{"stdout":")" + base::EncodeBase64(block) + R"("}}})");
    for (std::int64_t i = 0; i < frames && connection.Chunk(frame); ++i) {
    }
    connection.Exit(0);
  } else if (cmd == "signalled") {
    connection.Data("stdout", "ready\n");
    Await([this] { return !process_.signal.empty(); });
    connection.Event({{"end", {{"exitCode", -1}, {"status", "signal: terminated"}}}});
  } else if (cmd == "deaf") {
    connection.Data("stdout", "ready\n");
    Await([&connection] { return connection.dead(); });
  } else if (cmd == "killed") {
    connection.Event({{"end", {{"exitCode", -1}, {"status", "signal: killed"}}}});
  } else if (cmd == "vanish") {
    connection.Data("stdout", "there\n");
    return connection.Break();
  } else if (cmd == "terminal") {
    connection.Data("pty", json::serialize(start.at("pty")) + "\r\n");
    Await([this] { return !process_.size.empty(); });
    connection.Data("pty", process_.size + "\r\n");
    Await([this] { return process_.input.contains('\x03'); });
    connection.Data("pty", "interrupted\r\n");
    connection.Exit(3);
  }
  connection.EndStream();
}

}  // namespace tinderbox::cli
