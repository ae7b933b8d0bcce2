// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/agent_link.h"

#include <fmt/format.h>
#include <time.h>

#include <boost/json.hpp>
#include <chrono>
#include <thread>
#include <utility>

#include "base/id.h"
#include "net/connect_client.h"
#include "net/http_client.h"

namespace tinderbox::sandbox {

using base::Code;
using base::Deadline;
using base::Error;
using base::Fail;
using base::Result;
namespace json = boost::json;

namespace {

constexpr std::size_t kMaxAnswer = 64 << 10;
constexpr std::size_t kShownConsole = 2000;
// A guest that is not up yet drops the first packets, and TCP repeats a SYN only after a second:
// many short attempts find the moment better than one long one.
constexpr std::chrono::milliseconds kAttempt{40};
constexpr std::chrono::milliseconds kPauseBetween{4};
// What is run twice takes a shorter way the second time: blocks of translated code are chained.
constexpr int kWarmUps = 3;
// A guest that takes longer than this over its identity (under emulation the first time is slow)
// set its clock to a time that is over: it is told once more, and is quick then.
constexpr std::chrono::milliseconds kPrompt{25};
constexpr std::size_t kEntropy = 64;  // bytes of a random seed
// One whole exchange with an agent that accepted the connection.
constexpr std::chrono::seconds kExchange{10};

Result<net::HttpResponse> Exchange(network::SlotPool& slots, std::uint32_t slot,
                                   const net::HttpRequest& request, Deadline connect,
                                   Deadline deadline) {
  net::HttpClient client(TRY(slots.Dial(slot, kAgentPort, connect)), "the sandbox's agent");
  return client.Request(request, deadline, kMaxAnswer);
}

Error DiedBeforeAnswer(vmm::LaunchedVm& vm, const vmm::ExitStatus& exit) {
  const std::string console = vm.ConsoleTail(kShownConsole).value_or("");
  return Error(
             Code::kFailedPrecondition,
             fmt::format("the VM ended before its agent answered ({} {}); end of its console:\n{}",
                         exit.signalled ? "signal" : "exit code", exit.code, console))
      .WithRemedy(
          "Look at the console above: a damaged disk, a kernel that does not fit, or too "
          "little memory are the usual reasons.");
}

Error NoAnswer(vmm::LaunchedVm& vm, const std::string& last) {
  return Error(Code::kDeadlineExceeded,
               fmt::format("the agent did not answer in time (last: {}); end of the console:\n{}",
                           last, vm.ConsoleTail(kShownConsole).value_or("")))
      .WithRemedy("On a very busy host raise limits.boot_seconds in the configuration.");
}

// Between two attempts.
Result<> PauseUnlessDead(vmm::LaunchedVm& vm) {
  if (const auto exit = vm.Wait(Deadline::After(std::chrono::seconds(0)))) {
    return std::unexpected(DiedBeforeAnswer(vm, *exit));
  }
  std::this_thread::sleep_for(kPauseBetween);
  return {};
}

Result<> Expect204(const net::HttpResponse& answer, std::string_view what) {
  if (answer.status == 204) return {};
  return Fail(Code::kInternal,
              fmt::format("{}: status {}: {}", what, answer.status, answer.body.substr(0, 500)));
}

std::string Rfc3339Now() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm utc{};
  ::gmtime_r(&now.tv_sec, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z", utc.tm_year + 1900,
                     utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, now.tv_nsec);
}

}  // namespace

Result<> AgentLink::AwaitHealth(vmm::LaunchedVm& vm, Deadline deadline) const {
  const net::HttpRequest health{.method = "GET", .target = "/health", .headers = {}, .body = {}};
  std::string last = "no answer";
  while (!deadline.passed()) {
    const auto answer = Exchange(slots_, slot_, health, Deadline::After(kAttempt).Earlier(deadline),
                                 Deadline::After(kExchange).Earlier(deadline));
    if (answer && answer->status == 204) return {};
    last = answer ? fmt::format("status {}", answer->status) : answer.error().ToString();
    TRY(PauseUnlessDead(vm));
  }
  return std::unexpected(NoAnswer(vm, last));
}

Result<> AgentLink::AwaitInit(vmm::LaunchedVm& vm, const Identity& identity,
                              const std::string& demanded, Deadline deadline) const {
  Result<sys::UniqueFd> socket = base::Fail(Code::kUnavailable, "no answer");
  while (!socket) {
    if (deadline.passed()) {
      return std::unexpected(NoAnswer(vm, socket.error().ToString()));
    }
    socket = slots_.Dial(slot_, kAgentPort, Deadline::After(kAttempt).Earlier(deadline));
    if (!socket) TRY(PauseUnlessDead(vm));
  }
  net::HttpRequest init{.method = "POST",
                        .target = "/init",
                        .headers = {{"Content-Type", "application/json"}},
                        .body = InitBody(identity)};
  if (!demanded.empty()) init.headers.push_back({"X-Access-Token", demanded});
  net::HttpClient client(std::move(*socket), "the sandbox's agent");
  const auto asked = std::chrono::steady_clock::now();
  const net::HttpResponse answer =
      TRY_CTX(client.Request(init, Deadline::After(kExchange).Earlier(deadline), kMaxAnswer),
              "set the identity of the guest");
  TRY(Expect204(answer, "set the identity of the guest"));
  if (std::chrono::steady_clock::now() - asked < kPrompt) return {};
  return SetClock(identity.access_token, deadline);
}

Result<> AgentLink::SetClock(const std::string& token, Deadline deadline) const {
  return Init(json::serialize(json::object{{"timestamp", Rfc3339Now()}}), token,
              "set the guest's clock", deadline);
}

Result<> AgentLink::Trust(const std::string& token, const std::string& authority,
                          Deadline deadline) const {
  return Init(json::serialize(json::object{{"caCertificate", authority}}), token,
              "give the guest a certificate authority", deadline);
}

Result<> AgentLink::Init(const std::string& body, const std::string& token, std::string_view what,
                         Deadline deadline) const {
  net::HttpRequest init{.method = "POST",
                        .target = "/init",
                        .headers = {{"Content-Type", "application/json"}},
                        .body = body};
  if (!token.empty()) init.headers.push_back({"X-Access-Token", token});
  const Deadline limit = Deadline::After(kExchange).Earlier(deadline);
  return Expect204(TRY_CTX(Exchange(slots_, slot_, init, limit, limit), what), what);
}

bool AgentLink::Answers(Deadline deadline) const {
  const net::HttpRequest health{.method = "GET", .target = "/health", .headers = {}, .body = {}};
  const auto answer = Exchange(slots_, slot_, health, deadline, deadline);
  return answer && answer->status == 204;
}

Result<net::HttpResponse> AgentLink::Call(const std::string& target, const std::string& token,
                                          Deadline deadline) const {
  net::HttpRequest call{.method = "POST", .target = target, .headers = {}, .body = {}};
  if (!token.empty()) call.headers.push_back({"X-Access-Token", token});
  return Exchange(slots_, slot_, call, deadline, deadline);
}

Result<> AgentLink::FreezeFilesystem(const std::string& token, Deadline deadline) const {
  constexpr std::string_view kWhat = "write out the guest's file system";
  return Expect204(TRY_CTX(Call("/fsfreeze", token, deadline), kWhat), kWhat);
}

Result<> AgentLink::FreezeProcesses(const std::string& token, Deadline deadline) const {
  constexpr std::string_view kWhat = "freeze the guest's processes";
  const net::HttpResponse answer =
      TRY_CTX(Call("/freeze", token, Deadline::After(kExchange).Earlier(deadline)), kWhat);
  if (answer.status == 404) {
    return Fail(Code::kUnimplemented, fmt::format("{}: its agent is too old", kWhat));
  }
  return Expect204(answer, kWhat);
}

Result<> AgentLink::GoOn(const std::string& token, Deadline deadline) const {
  const json::object body = {{"timestamp", Rfc3339Now()}, {"entropy", base::RandomHex(kEntropy)}};
  return Init(json::serialize(body), token, "let the guest go on", deadline);
}

Result<> AgentLink::WarmUp(vmm::LaunchedVm& vm, Deadline deadline) const {
  for (int i = 0; i < kWarmUps; ++i) {
    TRY(AwaitInit(vm, {.sandbox_id = "tinderbox"}, {}, deadline));
    TRY(RunShell("echo ready", deadline));
  }
  return {};
}

Result<> AgentLink::WarmUpLanguage(Deadline deadline) const {
  return RunShell("! command -v python3 || python3 -c 'import json, socket, subprocess'", deadline);
}

// As an SDK runs a command.
Result<> AgentLink::RunShell(const std::string& command, Deadline deadline) const {
  net::HttpClient client(TRY(slots_.Dial(slot_, kAgentPort, deadline)), "the sandbox's agent");
  const json::object process = {{"cmd", "/bin/bash"}, {"args", json::array{"-l", "-c", command}}};
  auto stream = TRY_CTX(
      net::ConnectStream::Start(std::move(client), "/process.Process/Start", {},
                                json::object{{"process", process}, {"stdin", false}}, deadline),
      "warm up the guest");
  // Bounded by the deadline; how the shell ended is of no importance.
  while (TRY(stream.Next(deadline))) {
  }
  return {};
}

std::string InitBody(const Identity& identity) {
  json::object env;
  for (const auto& [name, value] : identity.env) env[name] = value;
  env["E2B_SANDBOX"] = "true";
  env["E2B_SANDBOX_ID"] = identity.sandbox_id;
  env["E2B_TEMPLATE_ID"] = identity.template_id;
  json::object body;
  body["envVars"] = std::move(env);
  if (!identity.access_token.empty()) body["accessToken"] = identity.access_token;
  body["timestamp"] = Rfc3339Now();
  if (!identity.default_user.empty()) body["defaultUser"] = identity.default_user;
  if (!identity.default_workdir.empty()) body["defaultWorkdir"] = identity.default_workdir;
  if (!identity.authority.empty()) body["caCertificate"] = identity.authority;
  if (!identity.known) {
    body["hostname"] = identity.sandbox_id;
    body["machineId"] = base::RandomHex(16);
  }
  // What was mounted when its memory was saved has lost its host.
  body["detachVolumes"] = true;
  // Two guests from one snapshot hold the same random state until something that differs is mixed
  // in.
  body["entropy"] = base::RandomHex(kEntropy);
  return json::serialize(body);
}

}  // namespace tinderbox::sandbox
