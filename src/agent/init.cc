// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/init.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "agent/freeze.h"
#include "agent/guest_address.h"
#include "agent/reseed.h"
#include "agent/rpc.h"
#include "agent/trust.h"
#include "agent/volumes.h"
#include "base/log.h"
#include "sys/file.h"

namespace tinderbox::agent {
namespace {

constexpr std::size_t kMaxBody = 1 << 20;
constexpr std::size_t kMaxEntropy = 4096;
constexpr std::int64_t kNano = 1'000'000'000;
constexpr std::int64_t kBehind = 50'000'000;
constexpr std::int64_t kAhead = 5 * kNano;

// Two digits at `at`, or -1.
int Two(std::string_view text, std::size_t at) {
  if (at + 2 > text.size()) return -1;
  const int high = text[at] - '0';
  const int low = text[at + 1] - '0';
  return high < 0 || high > 9 || low < 0 || low > 9 ? -1 : high * 10 + low;
}

bool IsHostname(std::string_view name) {
  return !name.empty() && name.size() <= 63 && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
  });
}

bool IsMachineId(std::string_view id) {
  return id.size() == 32 && std::ranges::all_of(id, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

void Tolerate(const base::Result<>& done) {
  // A read-only or unusual image must not keep the sandbox from starting.
  if (!done) base::LogWarning("init: ignoring", {{"error", done.error().ToString()}});
}

void SetClock(const timespec& host) {
  timespec guest{};
  ::clock_gettime(CLOCK_REALTIME, &guest);
  if (!ClockNeedsSetting(guest, host)) return;
  if (::clock_settime(CLOCK_REALTIME, &host) != 0) {
    Tolerate(base::FailErrno(errno, "set clock"));
  }
}

void SetHostname(const std::string& name) {
  if (::sethostname(name.data(), name.size()) != 0) {
    return Tolerate(base::FailErrno(errno, "set host name"));
  }
  // Not by way of a temporary file: in containers' images these may be bind mounts.
  const sys::UniqueFd hostname(
      ::open("/etc/hostname", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (hostname) Tolerate(sys::WriteAll(hostname, name + "\n"));
  Tolerate(WriteHosts(name));
}

void SetMachineId(const std::string& id) {
  const sys::UniqueFd file(
      ::open("/etc/machine-id", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0444));
  if (file) Tolerate(sys::WriteAll(file, id + "\n"));
}

// True where the request comes from inside the guest.
bool FromGuest(const net::HttpPeer& peer) {
  return peer.address.starts_with("127.") || peer.address == kGuestAddress || peer.is_unix;
}

// An error: the random numbers are as before. All else is done as well as the image allows.
base::Result<> Apply(InitRequest request, AgentState& state) {
  if (request.timestamp) SetClock(*request.timestamp);
  const base::Result<> reseeded =
      request.entropy.empty() ? base::Result<>{} : Reseed(request.entropy);
  if (request.hostname) SetHostname(*request.hostname);
  if (request.machine_id) SetMachineId(*request.machine_id);
  if (request.env) state.env = *std::move(request.env);
  // Behind the environment, which it adds to.
  if (request.certificate) Tolerate(TrustAuthority(*request.certificate, state.env));
  if (request.default_user) state.default_user = *std::move(request.default_user);
  if (request.default_workdir) state.default_workdir = *std::move(request.default_workdir);
  if (request.access_token) {
    state.access_token.reset();
    if (!request.access_token->empty()) state.access_token = *std::move(request.access_token);
  }
  return reseeded;
}

RpcResult<InitRequest> FromMessage(const Message& message) {
  InitRequest request;
  RPC_TRY(const auto env, message.Sub("envVars"));
  if (env) {
    RPC_TRY(request.env, message.StringMap("envVars"));
    request.env->try_emplace("E2B_SANDBOX", "true");
  }
  RPC_TRY(request.access_token, message.String("accessToken"));
  RPC_TRY(request.default_user, message.String("defaultUser"));
  RPC_TRY(request.default_workdir, message.String("defaultWorkdir"));
  RPC_TRY(request.hostname, message.String("hostname"));
  RPC_TRY(request.machine_id, message.String("machineId"));
  RPC_TRY(request.certificate, message.String("caCertificate"));
  RPC_TRY(const auto detach, message.Bool("detachVolumes"));
  request.detach_volumes = detach.value_or(false);
  RPC_TRY(const auto entropy, message.String("entropy"));
  request.entropy = entropy.value_or("");
  RPC_TRY(const auto timestamp, message.String("timestamp"));
  if (timestamp && !timestamp->empty()) {
    request.timestamp = ParseRfc3339(*timestamp);
    if (!request.timestamp) {
      return RpcFail(net::ConnectCode::kInvalidArgument, "timestamp is not RFC 3339");
    }
  }
  return request;
}

}  // namespace

std::optional<timespec> ParseRfc3339(std::string_view text) {
  if (text.size() < 20 || text[4] != '-' || text[7] != '-' || (text[10] | 0x20) != 't' ||
      text[13] != ':' || text[16] != ':') {
    return std::nullopt;
  }
  const int century = Two(text, 0);
  const int year = Two(text, 2);
  std::tm utc{};
  utc.tm_year = century * 100 + year - 1900;
  utc.tm_mon = Two(text, 5) - 1;
  utc.tm_mday = Two(text, 8);
  utc.tm_hour = Two(text, 11);
  utc.tm_min = Two(text, 14);
  utc.tm_sec = Two(text, 17);
  if (century < 0 || year < 0 || utc.tm_mon < 0 || utc.tm_mon > 11 || utc.tm_mday < 1 ||
      utc.tm_mday > 31 || utc.tm_hour < 0 || utc.tm_hour > 23 || utc.tm_min < 0 ||
      utc.tm_min > 59 || utc.tm_sec < 0 || utc.tm_sec > 60) {
    return std::nullopt;
  }
  timespec time{};
  text.remove_prefix(19);
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    long scale = kNano / 10;
    for (; !text.empty() && text[0] >= '0' && text[0] <= '9'; text.remove_prefix(1), scale /= 10) {
      time.tv_nsec += (text[0] - '0') * scale;
    }
  }
  long offset = 0;
  if (text.size() == 6 && (text[0] == '+' || text[0] == '-') && text[3] == ':') {
    const int hours = Two(text, 1);
    const int minutes = Two(text, 4);
    if (hours < 0 || minutes < 0) return std::nullopt;
    offset = (hours * 60L + minutes) * 60 * (text[0] == '-' ? -1 : 1);
  } else if (text != "Z" && text != "z") {
    return std::nullopt;
  }
  time.tv_sec = ::timegm(&utc) - offset;
  return time;
}

bool ClockNeedsSetting(const timespec& guest, const timespec& host) {
  const std::int64_t ahead = (guest.tv_sec - host.tv_sec) * kNano + (guest.tv_nsec - host.tv_nsec);
  return ahead < -kBehind || ahead > kAhead;
}

base::Result<InitRequest> ParseInit(std::string_view body) {
  const RpcResult<Message> message = Message::Parse(body);
  if (!message) return base::Fail(base::Code::kInvalidArgument, message.error().message);
  RpcResult<InitRequest> request = FromMessage(*message);
  if (!request) return base::Fail(base::Code::kInvalidArgument, request.error().message);
  if (request->hostname && !IsHostname(*request->hostname)) {
    return base::Fail(base::Code::kInvalidArgument, "hostname is not a host name's label");
  }
  if (request->machine_id && !IsMachineId(*request->machine_id)) {
    return base::Fail(base::Code::kInvalidArgument, "machineId is not 32 hexadecimal digits");
  }
  if (request->entropy.size() > kMaxEntropy) {
    return base::Fail(base::Code::kInvalidArgument, "entropy is too long");
  }
  return *std::move(request);
}

net::Task<bool> AdmitHost(net::Exchange& exchange, const AgentState& state) {
  if (state.host_only_routes && FromGuest(exchange.peer())) {
    co_await RespondError(exchange, 403, "only the host may call this");
    co_return false;
  }
  const std::string_view token = exchange.head().headers.Get("X-Access-Token");
  if (state.access_token && !SameSecret(token, *state.access_token)) {
    co_await RespondError(exchange, 401, "access token does not match");
    co_return false;
  }
  co_return true;
}

net::Task<> ServeInit(net::Exchange& exchange, AgentState& state) {
  if (!co_await AdmitHost(exchange, state)) co_return;
  const base::Result<std::string> body = co_await exchange.ReadBody(kMaxBody);
  if (!body) co_return co_await RespondError(exchange, 400, body.error().message());
  base::Result<InitRequest> request = ParseInit(*body);
  if (!request) co_return co_await RespondError(exchange, 400, request.error().message());
  // A guest that was copied while it was frozen goes on here.
  if (state.freeze != nullptr) (void)co_await state.freeze->End();
  if (request->detach_volumes && state.volumes != nullptr) state.volumes->DetachAll();
  const bool has_entropy = !request->entropy.empty();
  const base::Result<> reseeded = Apply(*std::move(request), state);
  if (!reseeded) Tolerate(reseeded);
  if (state.process_freeze != nullptr && !state.process_freeze->thawed()) {
    if (!reseeded) co_return co_await RespondError(exchange, 500, reseeded.error().ToString());
    // Last: the guest's processes must not see what was before.
    if (has_entropy) (void)co_await state.process_freeze->End();
  }
  net::HeaderList headers = AnswerHeaders("");
  headers.Add("Cache-Control", "no-store");
  (void)co_await exchange.Respond(204, std::move(headers), "");
}

}  // namespace tinderbox::agent
