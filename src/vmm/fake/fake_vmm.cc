// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// A VMM that is none: see fake_driver.h. Static, since its jail holds nothing but itself.
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace {

constexpr char kSocket[] = "/run/api.sock";
constexpr char kScript[] = "/initrd.img";

// What may go wrong at a request, or ("hang", "die") before the socket is made.
constexpr std::string_view kFaultNames[] = {
    "hang",     // no answer, ever
    "half",     // half an answer, then nothing
    "close",    // the connection is closed without an answer
    "cut",      // half an answer, then the connection is closed
    "garbage",  // an answer that is not of the protocol
    "refuse",   // a proper error
    "newline",  // Firecracker's other error: raw line ends, no JSON
    "busy",     // 503; to QMP, an error
    "lie",      // a proper answer to something else
    "huge",     // an answer of many megabytes
    "events",   // QMP: events without end
    "die",      // exit status 7, words on standard error
    "abort",    // SIGABRT
};

struct Script {
  std::string guest = "hello";
  bool deaf = false;
  std::map<std::string, std::string> faults;  // WHERE → WHAT
};

Script ReadScript() {
  Script script;
  std::ifstream file(kScript);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string verb, where, what;
    words >> verb >> where >> what;
    if (verb == "guest") script.guest = where;
    if (verb == "deaf") script.deaf = true;
    if (verb != "fault") continue;
    if (std::ranges::find(kFaultNames, what) == std::end(kFaultNames)) std::exit(99);
    script.faults[where] = what;
  }
  return script;
}

[[noreturn]] void Die() {
  std::fputs("fake: dying as told\n", stderr);
  std::_Exit(7);
}
[[noreturn]] void Hang() {
  for (;;) ::pause();
}

enum class Machine { kNotStarted, kRunning, kPaused };
std::atomic<Machine> machine = Machine::kNotStarted;

void Print(std::string_view text) {
  if (::write(STDOUT_FILENO, text.data(), text.size()) < 0) std::_Exit(98);
}

// Plays the guest, on a thread of its own.
void RunGuest(const std::string& guest) {
  using std::chrono::milliseconds;
  if (guest == "hello" || guest == "crash") {
    Print(guest == "hello" ? "hello from a tiny guest\n" : "crashing\n");
    // Long enough for the answer to the request that started the guest.
    std::this_thread::sleep_for(milliseconds(20));
    std::_Exit(guest == "hello" ? 0 : 1);
  }
  if (guest == "spin") Print("spinning\n");
  for (int i = 1;; std::this_thread::sleep_for(milliseconds(2))) {
    if (guest == "counter" && machine == Machine::kRunning)
      Print("count " + std::to_string(i++) + "\n");
  }
}

bool SendAll(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t sent = ::send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    data.remove_prefix(static_cast<std::size_t>(sent));
  }
  return true;
}

// Serves one connection at a time; a protocol says how requests and answers look.
class Server {
 public:
  explicit Server(Script script) : script_(std::move(script)) {}
  virtual ~Server() = default;

  void Serve() {
    const std::string before = Fault("listen");
    if (before == "hang") Hang();
    if (before == "die") Die();
    const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strcpy(address.sun_path, kSocket);
    if (::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
        ::listen(listener, 10) != 0) {
      std::perror("fake: make the API socket");
      std::exit(1);
    }
    for (;;) {
      const int fd = ::accept(listener, nullptr, nullptr);
      if (fd < 0) continue;
      buffer_.clear();
      Connection(fd);
      ::close(fd);
    }
  }

 protected:
  virtual void Connection(int fd) = 0;

  std::string Fault(const std::string& where) const {
    const auto found = script_.faults.find(where);
    return found == script_.faults.end() ? "" : found->second;
  }
  void StartGuest() {
    machine = Machine::kRunning;
    if (!std::exchange(started_, true)) std::thread(RunGuest, script_.guest).detach();
  }
  // Reads until `buffer_` holds `size` bytes, or `until`; false when the client has gone.
  bool Fill(int fd, std::size_t size, std::string_view until) {
    char chunk[4096];
    while (until.empty() ? buffer_.size() < size : buffer_.find(until) == std::string::npos) {
      const ssize_t got = ::read(fd, chunk, sizeof chunk);
      if (got <= 0) return false;
      buffer_.append(chunk, static_cast<std::size_t>(got));
    }
    return true;
  }
  // The faults that look the same in both protocols; false: the connection ends.
  static bool Misbehave(int fd, std::string_view what, std::string_view answer) {
    if (what == "hang") Hang();
    if (what == "die") Die();
    if (what == "abort") std::abort();
    if (what == "half" || what == "cut") {
      SendAll(fd, answer.substr(0, answer.size() / 2));
      if (what == "half") Hang();
      return false;
    }
    if (what == "garbage") return SendAll(fd, "\x01\x02 what? \xff\r\n\r\n\r\n");
    return false;  // "close"
  }

  std::string buffer_;

 private:
  const Script script_;
  bool started_ = false;
};

class FirecrackerServer : public Server {
 public:
  using Server::Server;

 private:
  static std::string Answer(int status, const std::string& body) {
    std::string text = "HTTP/1.1 " + std::to_string(status) + " \r\nServer: Firecracker API\r\n";
    if (status != 204)
      text += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) +
              "\r\n";
    return text + "\r\n" + body;
  }

  void Connection(int fd) override {
    while (Fill(fd, 0, "\r\n\r\n")) {
      std::istringstream head(buffer_);
      std::string method, path;
      head >> method >> path;
      const auto end = buffer_.find("\r\n\r\n") + 4;
      std::size_t length = 0;
      if (const auto at = buffer_.find("Content-Length: "); at < end)
        length = static_cast<std::size_t>(std::atoi(buffer_.c_str() + at + 16));
      if (!Fill(fd, end + length, "")) return;
      const std::string body = buffer_.substr(end, length);
      buffer_.erase(0, end + length);
      if (!Reply(fd, path, body)) return;
    }
  }

  bool Reply(int fd, const std::string& path, const std::string& body) {
    const std::string what = Fault(path);
    if (what.empty()) {
      Act(path, body);
      return SendAll(fd, path == "/" ? Answer(200, State()) : Answer(204, ""));
    }
    if (what == "refuse") return SendAll(fd, Answer(400, R"({"fault_message":"as told"})"));
    if (what == "newline") return SendAll(fd, Answer(400, "{\"error\":\"broken\nin two\"}"));
    if (what == "busy") return SendAll(fd, Answer(503, R"({"fault_message":"too many"})"));
    if (what == "lie") return SendAll(fd, Answer(200, R"({"state":"Dancing"})"));
    if (what == "huge") return SendAll(fd, Answer(200, std::string(8 << 20, 'x')));
    return Misbehave(fd, what, Answer(200, State()));
  }

  void Act(const std::string& path, const std::string& body) {
    if (path == "/actions") StartGuest();
    if (path != "/vm") return;
    machine = body.find("Paused") != std::string::npos ? Machine::kPaused : Machine::kRunning;
  }

  static std::string State() {
    const char* state = machine == Machine::kNotStarted ? "Not started"
                        : machine == Machine::kRunning  ? "Running"
                                                        : "Paused";
    return std::string(R"({"app_name":"Fake","id":"x","state":")") + state +
           R"(","vmm_version":"0.0.0"})";
  }
};

class QmpServer : public Server {
 public:
  using Server::Server;

 private:
  void Connection(int fd) override {
    if (!Reply(fd, "greeting", R"({"QMP": {"version": {}, "capabilities": ["oob"]}})")) return;
    while (Fill(fd, 0, "\n")) {
      const auto end = buffer_.find('\n');
      const std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      const std::string command = Between(line, R"("execute":")", "\"");
      const std::string id = Between(line, R"("id":)", "}");
      if (!Reply(fd, command, R"({"return": )" + Return(command) + R"(, "id": )" + id + "}"))
        return;
    }
  }

  static std::string Between(const std::string& text, const std::string& before,
                             const std::string& after) {
    const auto begin = text.find(before);
    if (begin == std::string::npos) return "";
    const auto from = begin + before.size();
    return text.substr(from, text.find(after, from) - from);
  }

  bool Reply(int fd, const std::string& where, const std::string& answer) {
    const std::string what = Fault(where);
    if (what.empty()) {
      if (where == "cont") StartGuest();
      if (where == "stop") machine = Machine::kPaused;
      if (where == "greeting") return SendAll(fd, answer + "\r\n");
      return SendAll(fd, R"({"event": "FAKE", "data": {}})"
                         "\r\n" +
                             answer + "\r\n");
    }
    if (what == "refuse" || what == "busy")
      return SendAll(fd, R"({"error": {"class": "GenericError", "desc": "as told"}, "id": )" +
                             Between(answer, R"("id": )", "}") + "}\r\n");
    if (what == "newline") return SendAll(fd, "{\"return\":\n{}}\r\n");
    if (what == "lie")
      return SendAll(fd, R"({"return": {"status": 5}, "id": 4711})"
                         "\r\n");
    if (what == "huge") return SendAll(fd, std::string(8 << 20, 'x'));
    if (what == "events") {
      while (SendAll(fd, R"({"event": "FAKE", "data": {}})"
                         "\r\n")) {
      }
      return false;
    }
    return Misbehave(fd, what, answer);
  }

  static std::string Return(const std::string& command) {
    if (command != "query-status") return "{}";
    const char* state = machine == Machine::kNotStarted ? "prelaunch"
                        : machine == Machine::kRunning  ? "running"
                                                        : "paused";
    return std::string(R"({"status": ")") + state + "\"}";
  }
};

}  // namespace

int main(int argc, char** argv) {
  Script script = ReadScript();
  ::signal(SIGPIPE, SIG_IGN);
  if (script.deaf) ::signal(SIGTERM, SIG_IGN);
  const bool qmp = std::any_of(argv, argv + argc,
                               [](const char* word) { return std::strcmp(word, "-mon") == 0; });
  if (qmp) {
    QmpServer(std::move(script)).Serve();
  } else {
    FirecrackerServer(std::move(script)).Serve();
  }
}
