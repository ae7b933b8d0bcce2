// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The real tinderbox-agent as a process of this host, driven over HTTP as clients drive it in a
// guest.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <charconv>
#include <filesystem>
#include <future>
#include <random>
#include <thread>

#include "base/base64.h"
#include "net/connect_client.h"
#include "net/http_client.h"
#include "sys/file.h"
#include "sys/spawn.h"

namespace tinderbox::agent {
namespace {

namespace json = boost::json;
using base::Deadline;
using std::chrono_literals::operator""s;
using std::chrono_literals::operator""ms;
using Clock = std::chrono::steady_clock;

// What a process's stream yielded.
struct Outcome {
  pid_t pid = 0;
  std::string out;
  std::string err;
  std::string pty;
  json::object end;
  int keepalives = 0;
  std::optional<base::Error> error;  // of the end-stream frame

  std::int64_t exit_code() const {
    const auto* code = end.if_contains("exitCode");
    return code == nullptr ? 0 : code->as_int64();
  }
};

class AgentTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = fmt::format("/tmp/agent-root-test-{}", ::getpid());
    std::filesystem::create_directories(dir_);
    ::chmod(dir_.c_str(), 0777);
    StartAgent();
  }
  void TearDown() override {
    if (agent_.pid > 0) {
      ::kill(agent_.pid, SIGKILL);
      ::waitpid(agent_.pid, nullptr, 0);
    }
    std::filesystem::remove_all(dir_);
  }

  void StartAgent() {
    int fds[2];
    ASSERT_EQ(::pipe2(fds, O_CLOEXEC), 0);
    const sys::UniqueFd read(fds[0]);
    const sys::UniqueFd write(fds[1]);
    auto child = sys::Spawn({.path = TINDERBOX_AGENT,
                             .argv = {"tinderbox-agent", "--port", "0"},
                             .env = {},
                             .fds = {{1, write}, {2, write}},
                             .exit_signal = SIGCHLD});
    ASSERT_TRUE(child.has_value()) << child.error().ToString();
    agent_ = *std::move(child);
    char line[256] = "";
    ASSERT_GT(::read(read.get(), line, sizeof(line) - 1), 0);
    const std::string_view text = line;
    const auto at = text.find("port ");
    ASSERT_NE(at, text.npos) << text;
    std::from_chars(text.data() + at + 5, text.data() + text.size(), port_);
  }

  net::HttpClient Connect() {
    auto client = net::HttpClient::ConnectTcp("127.0.0.1", port_, Deadline::After(5s));
    EXPECT_TRUE(client.has_value()) << client.error().ToString();
    return *std::move(client);
  }
  net::HttpResponse Ask(std::string method, std::string target, std::string body = {},
                        net::HttpHeaders headers = {}) {
    net::HttpClient client = Connect();
    net::HttpRequest request;
    request.method = std::move(method);
    request.target = std::move(target);
    request.body = std::move(body);
    request.headers = std::move(headers);
    auto answer = client.Request(request, Deadline::After(20s));
    EXPECT_TRUE(answer.has_value()) << answer.error().ToString();
    return answer.value_or(net::HttpResponse{});
  }
  // A unary call: the answer's status and body.
  net::HttpResponse Call(const std::string& method, const std::string& body) {
    return Ask("POST", "/process.Process/" + method, body, {{"Content-Type", "application/json"}});
  }
  net::ConnectStream Stream(const std::string& method, const std::string& body,
                            net::HttpHeaders headers = {}) {
    auto stream = net::ConnectStream::Start(Connect(), "/process.Process/" + method, headers,
                                            json::parse(body), Deadline::After(20s));
    EXPECT_TRUE(stream.has_value()) << stream.error().ToString();
    return *std::move(stream);
  }
  // One event into `outcome`; false at the stream's end.
  static bool Next(net::ConnectStream& stream, Outcome& outcome) {
    auto message = stream.Next(Deadline::After(30s));
    if (!message) outcome.error = message.error();
    if (!message || !*message) return false;
    const json::object event = json::parse(**message).as_object().at("event").as_object();
    if (event.contains("start"))
      outcome.pid = static_cast<pid_t>(event.at("start").at("pid").as_int64());
    if (event.contains("end")) outcome.end = event.at("end").as_object();
    if (event.contains("keepalive")) ++outcome.keepalives;
    if (event.contains("data")) {
      for (const auto& [key, value] : event.at("data").as_object()) {
        std::string& into = key == "stdout"   ? outcome.out
                            : key == "stderr" ? outcome.err
                                              : outcome.pty;
        const auto& text = value.as_string();
        EXPECT_TRUE(base::AppendFromBase64(into, {text.data(), text.size()}).has_value());
      }
    }
    return true;
  }
  static Outcome Drain(net::ConnectStream& stream) {
    Outcome outcome;
    while (Next(stream, outcome)) {
    }
    return outcome;
  }
  Outcome Run(const std::string& body, net::HttpHeaders headers = {}) {
    net::ConnectStream stream = Stream("Start", body, std::move(headers));
    return Drain(stream);
  }
  // `more` goes into the request, `inner` into its process.
  static std::string Shell(const std::string& script, const std::string& more = "",
                           const std::string& inner = "") {
    return fmt::format(R"({{"process":{{"cmd":"/bin/sh","args":["-c",{}]{}}}{}}})",
                       json::serialize(json::value(script)), inner, more);
  }
  static std::string Selected(pid_t pid, const std::string& more = "") {
    return fmt::format(R"({{"process":{{"pid":{}}}{}}})", pid, more);
  }
  static std::string Basic(const std::string& user) {
    return "Basic " + base::EncodeBase64(user + ":");
  }
  static bool Alive(pid_t pid) { return ::kill(pid, 0) == 0; }

  std::string dir_;
  sys::Child agent_{};
  std::uint16_t port_ = 0;
};

TEST_F(AgentTest, HealthEnvsAndMetrics) {
  EXPECT_EQ(Ask("GET", "/health").status, 204);
  EXPECT_EQ(Ask("GET", "/envs").body, R"({"E2B_SANDBOX":"true"})");
  const auto metrics = json::parse(Ask("GET", "/metrics").body).as_object();
  EXPECT_GT(metrics.at("mem_total").as_int64(), 0);
  EXPECT_GT(metrics.at("disk_total").as_int64(), 0);
  EXPECT_EQ(Ask("GET", "/nothing").status, 404);
}

TEST_F(AgentTest, StreamsApartAndExitCode) {
  const Outcome outcome = Run(Shell("echo out; echo err >&2; exit 7"));
  EXPECT_GT(outcome.pid, 0);
  EXPECT_EQ(outcome.out, "out\n");
  EXPECT_EQ(outcome.err, "err\n");
  EXPECT_EQ(json::serialize(outcome.end),
            R"({"exitCode":7,"exited":true,"status":"exit status 7","error":"exit status 7"})");
  EXPECT_EQ(json::serialize(Run(Shell("exit 0")).end),
            R"({"exited":true,"status":"exit status 0"})");
}

TEST_F(AgentTest, MissingProgramsAreProcessesThatSaySo) {
  const Outcome missing = Run(R"({"process":{"cmd":"no-such-program"}})");
  EXPECT_EQ(missing.exit_code(), 127);
  EXPECT_NE(missing.err.find("not found"), missing.err.npos);
  ASSERT_TRUE(sys::WriteFileAtomic(dir_ + "/plain", "text", 0644).has_value());
  EXPECT_EQ(Run(fmt::format(R"({{"process":{{"cmd":"{}/plain"}}}})", dir_)).exit_code(), 126);
  ASSERT_TRUE(sys::WriteFileAtomic(dir_ + "/script", "echo $1", 0755).has_value());
  EXPECT_EQ(
      Run(fmt::format(R"({{"process":{{"cmd":"{}/script","args":["no shebang"]}}}})", dir_)).out,
      "no shebang\n");
}

TEST_F(AgentTest, UserGroupsEnvironmentAndPriorities) {
  const passwd* nobody = ::getpwnam("nobody");
  ASSERT_NE(nobody, nullptr);
  const Outcome outcome =
      Run(Shell("id -u; id -g; echo $HOME $USER $LOGNAME $PATH; cat /proc/self/oom_score_adj; "
                "nice; umask; ls -l /proc/self/fd | wc -l",
                R"(,"stdin":false)", R"(,"cwd":"/")"),
          {{"Authorization", Basic("nobody")}});
  EXPECT_EQ(outcome.exit_code(), 0) << outcome.err;
  EXPECT_EQ(
      outcome.out.substr(0, outcome.out.find("/proc")),
      fmt::format("{}\n{}\n{} nobody nobody "
                  "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n100\n0\n0022\n5\n",
                  nobody->pw_uid, nobody->pw_gid, nobody->pw_dir))
      << "no descriptor but the three and ls's own";
  net::ConnectStream refused = Stream("Start", Shell("true"), {{"Authorization", Basic("ghost")}});
  const Outcome ghost = Drain(refused);
  ASSERT_TRUE(ghost.error.has_value());
  EXPECT_EQ(ghost.error->code(), base::Code::kUnauthenticated);
  EXPECT_NE(ghost.error->message().find("invalid username: 'ghost'"), std::string::npos);
}

TEST_F(AgentTest, WorkingDirectoryFollowsThePathRules) {
  EXPECT_EQ(Run(R"({"process":{"cmd":"pwd","cwd":"/usr/../tmp"}})").out, "/tmp\n");
  const Outcome missing = Run(R"({"process":{"cmd":"pwd","cwd":"/no/such"}})");
  ASSERT_TRUE(missing.error.has_value());
  EXPECT_EQ(missing.error->code(), base::Code::kInvalidArgument);
  EXPECT_NE(missing.error->message().find("cwd '/no/such' does not exist"), std::string::npos);
}

TEST_F(AgentTest, StdinIsNullOrAPipeUntilClosed) {
  EXPECT_EQ(Run(Shell("cat; echo end", R"(,"stdin":false)")).out, "end\n");
  // It lives on for a while after the end of its input, so that there is somebody to refuse more.
  net::ConnectStream stream = Stream("Start", Shell("cat; sleep 1; echo end"));
  Outcome outcome;
  ASSERT_TRUE(Next(stream, outcome));
  EXPECT_EQ(Call("SendInput", Selected(outcome.pid, R"(,"input":{"stdin":"aGkK"})")).status, 200);
  while (outcome.out != "hi\n" && Next(stream, outcome)) {
  }
  EXPECT_EQ(Call("SendInput", Selected(outcome.pid, R"(,"input":{"pty":"aGkK"})")).status, 500);
  EXPECT_EQ(Call("CloseStdin", Selected(outcome.pid)).status, 200);
  EXPECT_EQ(Call("SendInput", Selected(outcome.pid, R"(,"input":{"stdin":"aGkK"})")).status, 500);
  while (Next(stream, outcome)) {
  }
  EXPECT_EQ(outcome.out, "hi\nend\n");
}

TEST_F(AgentTest, MuchInputWaitsForASlowReader) {
  net::ConnectStream stream = Stream("Start", Shell("sleep 0.3; wc -c"));
  Outcome outcome;
  ASSERT_TRUE(Next(stream, outcome));
  const std::string chunk = base::EncodeBase64(std::string(3 << 20, 'x'));
  EXPECT_EQ(
      Call("SendInput", Selected(outcome.pid, fmt::format(R"(,"input":{{"stdin":"{}"}})", chunk)))
          .status,
      200);
  EXPECT_EQ(Call("CloseStdin", Selected(outcome.pid)).status, 200);
  while (Next(stream, outcome)) {
  }
  EXPECT_EQ(outcome.out, fmt::format("{}\n", 3 << 20));
}

TEST_F(AgentTest, ClientThatLeavesInTheMiddleOfSendInputFreesIt) {
  net::ConnectStream stream = Stream("Start", Shell("sleep 1; cat | wc -c"));
  Outcome outcome;
  ASSERT_TRUE(Next(stream, outcome));
  {
    net::HttpClient leaving = Connect();
    net::HttpRequest request;
    request.method = "POST";
    request.target = "/process.Process/SendInput";
    request.body = Selected(
        outcome.pid,
        fmt::format(R"(,"input":{{"stdin":"{}"}})", base::EncodeBase64(std::string(2 << 20, 'x'))));
    ASSERT_TRUE(leaving.Start(request, Deadline::After(5s)).has_value());
    std::this_thread::sleep_for(200ms);
  }
  const auto begin = Clock::now();
  EXPECT_EQ(Call("CloseStdin", Selected(outcome.pid)).status, 200);
  EXPECT_LT(Clock::now() - begin, 500ms);
  while (Next(stream, outcome)) {
  }
  EXPECT_LT(std::stol(outcome.out), 2 << 20);
}

TEST_F(AgentTest, TerminalKnowsItsSizeAndItsSignals) {
  const std::string start =
      R"({"process":{"cmd":"/bin/sh","envs":{"PS1":"$ ","TERM":"dumb"}},"pty":{"size":{"cols":91,"rows":33}}})";
  net::ConnectStream stream = Stream("Start", start);
  Outcome outcome;
  ASSERT_TRUE(Next(stream, outcome));
  const auto type = [&](std::string_view text) {
    EXPECT_EQ(Call("SendInput", Selected(outcome.pid, fmt::format(R"(,"input":{{"pty":"{}"}})",
                                                                  base::EncodeBase64(text))))
                  .status,
              200);
  };
  const auto await = [&](std::string_view text) {
    while (outcome.pty.find(text) == std::string::npos && Next(stream, outcome)) {
    }
    EXPECT_NE(outcome.pty.find(text), std::string::npos) << outcome.pty;
    outcome.pty.clear();
  };
  type("stty size; tty\n");
  await("33 91");
  EXPECT_EQ(
      Call("Update", Selected(outcome.pid, R"(,"pty":{"size":{"cols":120,"rows":40}})")).status,
      200);
  type("stty size\n");
  await("40 120");
  type("sleep 100\n");
  std::this_thread::sleep_for(200ms);
  type("\x03");
  type("echo after $((1+1))\n");
  await("after 2");
  EXPECT_EQ(Call("CloseStdin", Selected(outcome.pid)).status, 500) << "unknown";
  type("exit 5\n");
  while (Next(stream, outcome)) {
  }
  EXPECT_EQ(outcome.exit_code(), 5);
}

TEST_F(AgentTest, SignalsEndAProcessAndSaySo) {
  for (const auto& [signal, text] :
       {std::pair{"SIGNAL_SIGKILL", "signal: killed"}, {"SIGNAL_SIGTERM", "signal: terminated"}}) {
    // Its child keeps the output open: the end must not wait for that after a signal.
    net::ConnectStream stream = Stream("Start", Shell("sleep 20 & wait; sleep 20"));
    Outcome outcome;
    ASSERT_TRUE(Next(stream, outcome));
    const auto begin = Clock::now();
    EXPECT_EQ(
        Call("SendSignal", Selected(outcome.pid, fmt::format(R"(,"signal":"{}")", signal))).status,
        200);
    while (Next(stream, outcome)) {
    }
    EXPECT_LT(Clock::now() - begin, 5s);
    EXPECT_EQ(outcome.exit_code(), -1);
    EXPECT_EQ(outcome.end.at("error").as_string(), text);
    EXPECT_FALSE(outcome.end.contains("exited"));
  }
  EXPECT_EQ(Call("SendSignal", R"({"process":{"pid":999999},"signal":"SIGNAL_SIGKILL"})").status,
            404);
  EXPECT_EQ(Call("SendSignal", R"({"process":{"pid":999999},"signal":"SIGNAL_SIGHUP"})").status,
            404);
}

TEST_F(AgentTest, EndWaitsForInheritedOutput) {
  const auto begin = Clock::now();
  const Outcome outcome = Run(Shell("(sleep 0.5; echo late) & echo early"));
  EXPECT_GE(Clock::now() - begin, 450ms);
  EXPECT_EQ(outcome.out, "early\nlate\n");
}

TEST_F(AgentTest, TerminalEndsWithItsLeader) {
  // The sleep: when the leader exits, the kernel drops what the terminal has not passed on yet.
  // The background job survives the hangup and keeps the terminal open.
  const auto begin = Clock::now();
  const Outcome outcome =
      Run(Shell("(trap '' HUP; exec sleep 20) & echo $!; seq 500; sleep 0.3; exit 3",
                R"(,"pty":{"size":{"cols":80,"rows":24}})"));
  EXPECT_LT(Clock::now() - begin, 10s);
  EXPECT_EQ(outcome.exit_code(), 3);
  EXPECT_TRUE(outcome.pty.ends_with("499\r\n500\r\n")) << "what it wrote is not lost";
  const pid_t job = static_cast<pid_t>(std::stol(outcome.pty));
  EXPECT_TRUE(Alive(job));
  ::kill(job, SIGKILL);
}

TEST_F(AgentTest, DeadlineKillsTheProcess) {
  net::ConnectStream stream = Stream("Start", Shell("sleep 30"), {{"Connect-Timeout-Ms", "300"}});
  Outcome outcome;
  const auto begin = Clock::now();
  while (Next(stream, outcome)) {
  }
  EXPECT_LT(Clock::now() - begin, 3s);
  ASSERT_TRUE(outcome.error.has_value());
  EXPECT_EQ(outcome.error->code(), base::Code::kDeadlineExceeded);
  for (int i = 0; i < 100 && Alive(outcome.pid); ++i) std::this_thread::sleep_for(10ms);
  EXPECT_FALSE(Alive(outcome.pid));
}

TEST_F(AgentTest, ProcessOutlivesItsClientAndCanBeJoined) {
  Outcome first;
  {
    net::ConnectStream stream =
        Stream("Start", Shell("echo one; sleep 0.6; echo two", R"(,"tag":"t1")"));
    while (first.out.empty() && Next(stream, first)) {
    }
  }
  const auto list = json::parse(Call("List", "{}").body).as_object().at("processes").as_array();
  ASSERT_EQ(list.size(), 1U);
  EXPECT_EQ(list[0].at("pid").as_int64(), first.pid);
  EXPECT_EQ(list[0].at("tag").as_string(), "t1");
  EXPECT_EQ(list[0].at("config").at("cmd").as_string(), "/bin/sh");
  // Two more at once, by pid and by tag; nothing is repeated.
  net::ConnectStream by_pid = Stream("Connect", Selected(first.pid));
  net::ConnectStream by_tag = Stream("Connect", R"({"process":{"tag":"t1"}})");
  for (net::ConnectStream* stream : {&by_pid, &by_tag}) {
    const Outcome joined = Drain(*stream);
    EXPECT_EQ(joined.pid, first.pid);
    EXPECT_EQ(joined.out, "two\n");
    EXPECT_EQ(joined.end.at("status").as_string(), "exit status 0");
  }
  // The end stays to be had.
  net::ConnectStream late = Stream("Connect", Selected(first.pid));
  const Outcome after = Drain(late);
  EXPECT_EQ(after.pid, first.pid);
  EXPECT_EQ(after.end.at("status").as_string(), "exit status 0");
  EXPECT_EQ(Call("List", "{}").body, "{}");
  net::ConnectStream unknown = Stream("Connect", R"({"process":{"pid":999999}})");
  const Outcome nothing = Drain(unknown);
  ASSERT_TRUE(nothing.error.has_value());
  EXPECT_NE(nothing.error->message().find("process with pid 999999 not found"), std::string::npos);
}

TEST_F(AgentTest, KeepalivesComeInSilence) {
  const Outcome outcome = Run(Shell("sleep 2.4"), {{"Keepalive-Ping-Interval", "1"}});
  EXPECT_EQ(outcome.keepalives, 2);
}

TEST_F(AgentTest, LongOutputArrivesWhole) {
  constexpr std::size_t kBytes = 200'000'000;
  net::ConnectStream stream =
      Stream("Start", Shell(fmt::format("yes 0123456789abcdef | head -c {}", kBytes)));
  Outcome outcome;
  std::size_t total = 0;
  bool right = true;
  const auto begin = Clock::now();
  while (Next(stream, outcome)) {
    for (const char c : outcome.out) right = right && c == "0123456789abcdef\n"[total++ % 17];
    outcome.out.clear();
  }
  const auto took = std::chrono::duration<double>(Clock::now() - begin).count();
  RecordProperty("megabytes_per_second", fmt::format("{:.0f}", kBytes / 1e6 / took));
  EXPECT_TRUE(right);
  EXPECT_EQ(total, kBytes);
}

long ResidentKilobytes(pid_t pid) {
  const std::string status = sys::ReadFile(fmt::format("/proc/{}/status", pid)).value_or("");
  const auto at = status.find("VmRSS:");
  return at == status.npos ? -1 : std::atol(status.c_str() + at + 6);
}

TEST_F(AgentTest, ClientThatNeverReadsStopsTheProcessNotTheAgent) {
  net::ConnectStream stuck = Stream("Start", Shell("head -c 500000000 /dev/zero"));
  std::this_thread::sleep_for(1s);
  EXPECT_LT(ResidentKilobytes(agent_.pid), 32 << 10);
  EXPECT_EQ(Run(Shell("echo still here")).out, "still here\n");
}

TEST_F(AgentTest, OutputIsThrownAwayWhileNobodyIsAttached) {
  {
    net::ConnectStream leaving =
        Stream("Start", Shell(fmt::format("head -c 300000000 /dev/zero; touch {}/done", dir_)));
  }
  for (int i = 0; i < 1000 && !sys::Exists(dir_ + "/done"); ++i) std::this_thread::sleep_for(10ms);
  EXPECT_TRUE(sys::Exists(dir_ + "/done"));
}

TEST_F(AgentTest, StreamInputIsAppliedAsItArrives) {
  net::ConnectStream stream = Stream("Start", Shell("cat"));
  Outcome outcome;
  ASSERT_TRUE(Next(stream, outcome));
  net::HttpClient input = Connect();
  net::HttpRequest request;
  request.method = "POST";
  request.target = "/process.Process/StreamInput";
  request.headers = {{"Content-Type", "application/connect+json"}};
  ASSERT_TRUE(input.Start(request, net::StreamedBody{}, Deadline::After(5s)).has_value());
  const auto send = [&](const std::string& message) {
    ASSERT_TRUE(input.Write(net::EncodeConnectFrame(0, message), Deadline::After(5s)).has_value());
  };
  send(fmt::format(R"({{"start":{}}})", Selected(outcome.pid)));
  for (const std::string_view word : {"one\n", "two\n"}) {
    send(fmt::format(R"({{"data":{{"input":{{"stdin":"{}"}}}}}})", base::EncodeBase64(word)));
    while (!outcome.out.ends_with(word) && Next(stream, outcome)) {
    }
  }
  send(R"({"keepalive":{}})");
  ASSERT_TRUE(input.FinishBody(Deadline::After(5s)).has_value());
  const auto head = input.ReadHead(Deadline::After(5s));
  ASSERT_TRUE(head.has_value());
  EXPECT_EQ(head->status, 200);
  std::string body(256, '\0');
  std::string answer;
  while (true) {
    const auto n = input.ReadSome(body, Deadline::After(5s));
    ASSERT_TRUE(n.has_value());
    if (*n == 0) break;
    answer.append(body, 0, *n);
  }
  EXPECT_EQ(answer, net::EncodeConnectFrame(0, "{}") + net::EncodeConnectEnd());
  EXPECT_EQ(Call("CloseStdin", Selected(outcome.pid)).status, 200)
      << "the stream's end closes nothing";
  while (Next(stream, outcome)) {
  }
  EXPECT_EQ(outcome.out, "one\ntwo\n");
}

TEST_F(AgentTest, TokenGuardsEverythingButHealth) {
  const std::string body = R"({"accessToken":"t1","envVars":{"GIVEN":"x"}})";
  EXPECT_EQ(Ask("POST", "/init", body).status, 204);
  EXPECT_EQ(Ask("GET", "/health").status, 204);
  EXPECT_EQ(Ask("GET", "/envs").status, 401);
  EXPECT_EQ(Call("List", "{}").status, 401);
  EXPECT_EQ(Ask("GET", "/files?path=/etc/hostname").body,
            R"({"code":401,"message":"missing signature query parameter"})");
  EXPECT_EQ(Ask("GET", "/envs", "", {{"X-Access-Token", "t1"}}).body,
            R"({"E2B_SANDBOX":"true","GIVEN":"x"})");
  EXPECT_EQ(Ask("POST", "/init", R"({"accessToken":"evil"})").status, 401);
  EXPECT_EQ(Ask("POST", "/init", R"({"accessToken":"t2"})", {{"X-Access-Token", "t1"}}).status,
            204);
  EXPECT_EQ(Ask("GET", "/envs", "", {{"X-Access-Token", "t1"}}).status, 401);
  EXPECT_EQ(Ask("GET", "/envs", "", {{"X-Access-Token", "t2"}}).status, 200);
}

TEST_F(AgentTest, FilesInAndOut) {
  const std::string target = fmt::format("/files?path={}/new/dir/a.txt&username=nobody", dir_);
  const auto wrote = Ask("POST", target, "hello",
                         {{"Content-Type", "application/octet-stream"}, {"X-Metadata-Who", "me"}});
  EXPECT_EQ(
      wrote.body,
      fmt::format(
          R"([{{"name":"a.txt","path":"{}/new/dir/a.txt","type":"file","metadata":{{"who":"me"}}}}])",
          dir_));
  struct stat found{};
  ASSERT_EQ(::stat((dir_ + "/new/dir").c_str(), &found), 0);
  EXPECT_EQ(found.st_uid, ::getpwnam("nobody")->pw_uid);
  ASSERT_EQ(::stat((dir_ + "/new/dir/a.txt").c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0644U);
  EXPECT_EQ(Ask("GET", target).body, "hello");
  EXPECT_EQ(Ask("GET", target, "", {{"Range", "bytes=1-2"}}).body, "el");
  EXPECT_EQ(Ask("GET", target, "", {{"Range", "bytes=9-"}}).status, 416);
  EXPECT_EQ(Ask("GET", target, "", {{"Accept-Encoding", "identity;q=0"}}).status, 406);
  EXPECT_EQ(Ask("GET", "/files?path=" + dir_).status, 400);
  EXPECT_EQ(Ask("GET", fmt::format("/files?path={}/none", dir_)).status, 404);
  EXPECT_EQ(Ask("GET", "/files?path=/proc/self/status").body.substr(0, 5), "Name:");
  EXPECT_EQ(Ask("POST", "/files", "x", {{"Content-Type", "application/octet-stream"}}).status, 400);
  EXPECT_EQ(Ask("POST", target, "x", {{"Content-Type", "text/plain"}}).status, 400);
  EXPECT_EQ(Ask("POST", "/files?path=" + dir_, "x", {{"Content-Type", "application/octet-stream"}})
                .status,
            400);
  EXPECT_EQ(Ask("GET", target + "x").status, 401) << "no such user";
}

TEST_F(AgentTest, OnlyWhatGetsSmallerIsCompressed) {
  const auto encoding = [&](const std::string& content, const std::string& accepted) {
    EXPECT_TRUE(sys::WriteFileAtomic(dir_ + "/f", content).has_value());
    const auto answer =
        Ask("GET", fmt::format("/files?path={}/f", dir_), "", {{"Accept-Encoding", accepted}});
    EXPECT_EQ(answer.status, 200);
    const auto chosen = net::FindHeader(answer.headers, "Content-Encoding");
    if (chosen) return std::string(*chosen);
    EXPECT_TRUE(answer.body == content);
    return std::string();
  };
  std::mt19937 random(1);
  std::string noise(1 << 20, '\0');
  for (char& byte : noise) byte = static_cast<char>(random());
  EXPECT_EQ(encoding(std::string(5000, 'x'), "gzip, deflate"), "gzip");
  EXPECT_EQ(encoding(std::string(500, 'x'), "gzip"), "") << "too small";
  EXPECT_EQ(encoding("", "gzip"), "");
  EXPECT_EQ(encoding(noise, "gzip"), "");
  EXPECT_EQ(encoding(noise, "gzip, identity;q=0"), "gzip");
  EXPECT_EQ(encoding(noise + std::string(1 << 20, 'x'), "gzip"), "gzip") << "half of it is text";
}

TEST_F(AgentTest, FullDiskIs507) {
  const std::string full = dir_ + "/full";
  ASSERT_EQ(::mkdir(full.c_str(), 0755), 0);
  ASSERT_EQ(::mount("tmpfs", full.c_str(), "tmpfs", 0, "size=64k"), 0);
  const auto answer = Ask("POST", fmt::format("/files?path={}/x", full), std::string(1 << 20, 'x'),
                          {{"Content-Type", "application/octet-stream"}});
  ::umount2(full.c_str(), MNT_DETACH);
  EXPECT_EQ(answer.status, 507);
  EXPECT_EQ(answer.body, R"({"code":507,"message":"not enough disk space available"})");
}

TEST_F(AgentTest, MultipartFilesGoToTheirNames) {
  const std::string body = fmt::format(
      "--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{0}/m1\"\r\n\r\none\r\n"
      "--X\r\nContent-Disposition: form-data; name=\"file\"; "
      "filename=\"{0}/m2\"\r\n\r\ntwo\r\n--X--\r\n",
      dir_);
  const net::HttpHeaders type = {{"Content-Type", "multipart/form-data; boundary=X"}};
  EXPECT_EQ(Ask("POST", "/files", body, type).status, 200);
  EXPECT_EQ(sys::ReadFile(dir_ + "/m1").value_or(""), "one");
  EXPECT_EQ(sys::ReadFile(dir_ + "/m2").value_or(""), "two");
  EXPECT_EQ(Ask("POST", fmt::format("/files?path={}/m3", dir_), body, type).status, 400)
      << "the same path twice";
  EXPECT_EQ(Ask("POST", "/files", body.substr(0, body.size() - 8), type).status, 400)
      << "cut short";
}

TEST_F(AgentTest, FilesystemCalls) {
  const auto call = [&](const std::string& method, const std::string& body) {
    return Ask("POST", "/filesystem.Filesystem/" + method, body);
  };
  EXPECT_EQ(call("MakeDir", fmt::format(R"({{"path":"{}/d/e"}})", dir_)).status, 200);
  EXPECT_EQ(call("MakeDir", fmt::format(R"({{"path":"{}/d/e"}})", dir_)).status, 409);
  ASSERT_TRUE(sys::WriteFileAtomic(dir_ + "/d/f", "12345").has_value());
  EXPECT_EQ(call("MakeDir", fmt::format(R"({{"path":"{}/d/f"}})", dir_)).status, 400);
  ASSERT_EQ(::symlink("f", (dir_ + "/d/l").c_str()), 0);
  const auto entry = json::parse(call("Stat", fmt::format(R"({{"path":"{}/d/l"}})", dir_)).body)
                         .at("entry")
                         .as_object();
  EXPECT_EQ(entry.at("type").as_string(), "FILE_TYPE_FILE");
  EXPECT_TRUE(entry.at("isSymlink").as_bool());
  EXPECT_EQ(entry.at("symlinkTarget").as_string(), dir_ + "/d/f");
  EXPECT_TRUE(entry.at("permissions").as_string().starts_with("L"));
  const auto list =
      json::parse(call("ListDir", fmt::format(R"({{"path":"{}","depth":2}})", dir_)).body)
          .at("entries")
          .as_array();
  std::string names;
  for (const auto& item : list) names += std::string(item.at("name").as_string()) + " ";
  EXPECT_EQ(names, "d e f l ");
  EXPECT_EQ(call("ListDir", fmt::format(R"({{"path":"{}/d/f"}})", dir_)).status, 400);
  EXPECT_EQ(call("ListDir", R"({"path":"/no/such"})").status, 404);
  EXPECT_EQ(
      call("Move", fmt::format(R"({{"source":"{0}/d/f","destination":"{0}/x/y/z"}})", dir_)).status,
      200);
  EXPECT_EQ(sys::ReadFile(dir_ + "/x/y/z").value_or(""), "12345");
  EXPECT_EQ(call("Stat", fmt::format(R"({{"path":"{}/d/f"}})", dir_)).status, 404);
  EXPECT_EQ(call("Remove", fmt::format(R"({{"path":"{}/d"}})", dir_)).status, 200);
  EXPECT_FALSE(sys::Exists(dir_ + "/d"));
  EXPECT_EQ(call("Remove", fmt::format(R"({{"path":"{}/d"}})", dir_)).status, 200);
}

// What a watcher has to tell, as "TYPE name" each, until `last` is among it or time is over.
std::string WatchedUntil(const std::function<std::string()>& ask, const std::string& last) {
  std::string told;
  for (int i = 0; i < 200 && told.find(last) == told.npos; ++i) {
    const json::object answer = json::parse(ask()).as_object();
    if (answer.contains("events")) {
      for (const json::value& event : answer.at("events").as_array()) {
        told += fmt::format("{} {}\n", std::string(event.at("type").as_string()).substr(11),
                            std::string(event.at("name").as_string()));
      }
    }
    std::this_thread::sleep_for(10ms);
  }
  return told;
}

TEST_F(AgentTest, WatchersAnswerWithAllThatHasHappened) {
  const auto call = [&](const std::string& method, const std::string& body) {
    return Ask("POST", "/filesystem.Filesystem/" + method, body).body;
  };
  const json::value made =
      json::parse(call("CreateWatcher", json::serialize(json::value{{"path", dir_}})));
  const std::string watcher = json::serialize(made);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(sys::Open(fmt::format("{}/{}", dir_, i), O_CREAT | O_WRONLY, 0600));
    ASSERT_EQ(call("GetWatcherEvents", watcher),
              fmt::format(R"({{"events":[{{"name":"{}","type":"EVENT_TYPE_CREATE"}}]}})", i));
  }
}

TEST_F(AgentTest, WatchersTellWhatHappensBelow) {
  const auto call = [&](const std::string& method, const std::string& body) {
    return Ask("POST", "/filesystem.Filesystem/" + method, body);
  };
  ASSERT_TRUE(sys::MakeDirs(dir_ + "/old/er").has_value());
  const auto made = call("CreateWatcher", fmt::format(R"({{"path":"{}","recursive":true}})", dir_));
  ASSERT_EQ(made.status, 200) << made.body;
  const std::string id(json::parse(made.body).at("watcherId").as_string());
  const std::string selected = fmt::format(R"({{"watcherId":"{}"}})", id);
  const auto ask = [&] { return call("GetWatcherEvents", selected).body; };
  Run(Shell(fmt::format("cd {}; echo x >old/er/f; mkdir -p new/deep; echo y >new/deep/g", dir_)));
  // Told under the name that it has when the watch comes to it.
  std::string told = WatchedUntil(ask, "CREATE new/deep/g");
  Run(
      Shell(fmt::format("cd {}; mv old/er/f old/h; chmod 600 old/h; rm old/h; mv new moved; "
                        "echo z >moved/deep/i; echo end >last",
                        dir_)));
  told += WatchedUntil(ask, "WRITE last");
  for (const char* line :
       {"CREATE old/er/f\nWRITE old/er/f\n", "CREATE new\n", "CREATE new/deep\n",
        "CREATE new/deep/g\n", "RENAME old/er/f\nCREATE old/h\n", "CHMOD old/h\n", "REMOVE old/h\n",
        "RENAME new\nCREATE moved\n", "CREATE moved/deep/i\n"}) {
    EXPECT_NE(told.find(line), told.npos) << line << "in\n" << told;
  }
  for (const char* name : {"CREATE new/deep\n", "CREATE new/deep/g\n"}) {
    EXPECT_EQ(told.find(name), told.rfind(name)) << "told twice: " << told;
  }
  EXPECT_EQ(ask(), "{}");
  EXPECT_EQ(call("RemoveWatcher", selected).status, 200);
  EXPECT_EQ(call("RemoveWatcher", selected).status, 404);
  EXPECT_EQ(call("GetWatcherEvents", selected).status, 404);
  EXPECT_EQ(call("CreateWatcher", R"({"path":"/no/such"})").status, 404);
  EXPECT_EQ(call("CreateWatcher", R"({"path":"/etc/passwd"})").status, 400);
}

TEST_F(AgentTest, WatchStreamsBeginEndAndCarryEntries) {
  const auto watch = [&](const std::string& path, const net::HttpHeaders& headers) {
    return net::ConnectStream::Start(Connect(), "/filesystem.Filesystem/WatchDir", headers,
                                     json::value{{"path", path}, {"includeEntry", true}},
                                     Deadline::After(20s));
  };
  auto stream = watch(dir_, {{"Connect-Timeout-Ms", "700"}});
  ASSERT_TRUE(stream.has_value());
  EXPECT_EQ(**stream->Next(Deadline::After(5s)), R"({"start":{}})");
  ASSERT_TRUE(sys::MakeDirs(dir_ + "/made").has_value());
  const auto event = json::parse(**stream->Next(Deadline::After(5s))).at("filesystem").as_object();
  EXPECT_EQ(event.at("type").as_string(), "EVENT_TYPE_CREATE");
  EXPECT_EQ(event.at("entry").at("path").as_string(), dir_ + "/made");
  const auto end = stream->Next(Deadline::After(5s));
  ASSERT_FALSE(end.has_value());
  EXPECT_EQ(end.error().code(), base::Code::kDeadlineExceeded);
  auto missing = watch("/no/such", {});
  ASSERT_TRUE(missing.has_value());
  EXPECT_EQ(missing->Next(Deadline::After(5s)).error().code(), base::Code::kNotFound);
}

TEST_F(AgentTest, TunnelsLeadToTheLoopback) {
  const std::string port = std::to_string(port_);
  const auto ask = [&](const std::string& query, const std::string& upgrade) {
    net::HttpHeaders headers;
    if (!upgrade.empty()) headers = {{"Connection", "Upgrade"}, {"Upgrade", upgrade}};
    return Ask("POST", "/tunnel" + query, "", headers).status;
  };
  EXPECT_EQ(ask("?port=" + port, ""), 400);
  EXPECT_EQ(ask("?port=" + port, "websocket"), 400);
  EXPECT_EQ(ask("", "tcp"), 400);
  EXPECT_EQ(ask("?port=65536", "tcp"), 400);
  EXPECT_EQ(ask("?port=1", "tcp"), 502);
  // Into the agent's own port: both ends speak HTTP.
  auto fd =
      net::ConnectTo({.unix_path = {}, .host = "127.0.0.1", .port = port_}, Deadline::After(5s));
  ASSERT_TRUE(fd.has_value());
  ::fcntl(fd->get(), F_SETFL, 0);
  const std::string request = fmt::format(
      "POST /tunnel?port={} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"
      "Content-Length: 0\r\n\r\nGET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
      port_);
  ASSERT_TRUE(sys::WriteAll(*fd, request).has_value());
  std::string said;
  char buffer[1024];
  for (ssize_t n = 0; (n = ::read(fd->get(), buffer, sizeof(buffer))) > 0;) {
    said.append(buffer, static_cast<std::size_t>(n));
  }
  EXPECT_TRUE(said.starts_with("HTTP/1.1 101 ")) << said;
  EXPECT_NE(said.find("HTTP/1.1 204 "), said.npos) << said;
}

TEST_F(AgentTest, ManyProcessesAtOnce) {
  std::vector<std::future<std::string>> runs;
  for (int i = 0; i < 50; ++i) {
    runs.push_back(std::async(std::launch::async,
                              [this, i] { return Run(Shell(fmt::format("echo {}", i))).out; }));
  }
  for (int i = 0; i < 50; ++i) EXPECT_EQ(runs[i].get(), fmt::format("{}\n", i));
}

TEST_F(AgentTest, BadCallsAreAnsweredInTheirOwnForm) {
  EXPECT_EQ(Call("List", "[").status, 400);
  EXPECT_EQ(Call("NoSuchMethod", "{}").status, 404);
  EXPECT_EQ(Call("SendInput", "{}").status, 400);
  const auto raw = Ask("POST", "/process.Process/Start", "\x00\x00\x00\x00\x09{}");
  EXPECT_EQ(raw.status, 200);
  EXPECT_NE(raw.body.find("invalid_argument"), raw.body.npos);
}

}  // namespace
}  // namespace tinderbox::agent
