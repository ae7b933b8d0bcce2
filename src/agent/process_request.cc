// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/process_request.h"

#include <fmt/format.h>

#include <algorithm>

#include "agent/paths.h"
#include "sys/file.h"

namespace tinderbox::agent {
namespace {

namespace json = boost::json;
using net::ConnectCode;

constexpr char kPath[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// The kernel ends strings at a NUL: what stands behind it would silently be lost.
bool HasNul(const std::string& text) { return text.find('\0') != text.npos; }

RpcResult<> CheckConfig(const ProcessConfig& config) {
  if (config.cmd.empty()) return RpcFail(ConnectCode::kInvalidArgument, "cmd is empty");
  bool nul = HasNul(config.cmd) || std::ranges::any_of(config.args, HasNul);
  for (const auto& [key, value] : config.envs) {
    nul = nul || HasNul(key) || HasNul(value);
    if (key.empty() || key.find('=') != key.npos) {
      return RpcFail(ConnectCode::kInvalidArgument,
                     fmt::format("'{}' cannot be an environment variable's name", key));
    }
  }
  if (nul) return RpcFail(ConnectCode::kInvalidArgument, "cmd, args or envs contain a NUL");
  return {};
}

}  // namespace

RpcResult<std::optional<TerminalSize>> ParseTerminal(const Message& message) {
  RPC_TRY(const auto pty, message.Sub("pty"));
  if (!pty) return std::nullopt;
  TerminalSize size;
  RPC_TRY(const auto sizes, pty->Sub("size"));
  if (sizes) {
    RPC_TRY(const auto cols, sizes->Uint32("cols"));
    RPC_TRY(const auto rows, sizes->Uint32("rows"));
    size.cols = static_cast<unsigned short>(std::min(cols.value_or(0), 0xffffU));
    size.rows = static_cast<unsigned short>(std::min(rows.value_or(0), 0xffffU));
  }
  return size;
}

RpcResult<StartRequest> ParseStart(const Message& message) {
  StartRequest request;
  RPC_TRY(const auto process, message.Sub("process"));
  if (!process) return RpcFail(ConnectCode::kInvalidArgument, "process is missing");
  RPC_TRY(const auto cmd, process->String("cmd"));
  request.config.cmd = cmd.value_or("");
  RPC_TRY(request.config.args, process->Strings("args"));
  RPC_TRY(request.config.envs, process->StringMap("envs"));
  RPC_TRY(request.config.cwd, process->String("cwd"));
  RPC_TRY(request.terminal, ParseTerminal(message));
  RPC_TRY(request.tag, message.String("tag"));
  RPC_TRY(const auto with_stdin, message.Bool("stdin"));
  request.stdin_pipe = with_stdin.value_or(true);
  if (const auto checked = CheckConfig(request.config); !checked) {
    return std::unexpected(checked.error());
  }
  return request;
}

RpcResult<ProcessSelector> ParseSelector(const Message& message) {
  RPC_TRY(const auto process, message.Sub("process"));
  if (process) {
    RPC_TRY(const auto pid, process->Uint32("pid"));
    if (pid) return static_cast<pid_t>(*pid);
    RPC_TRY(auto tag, process->String("tag"));
    if (tag) return *std::move(tag);
  }
  return RpcFail(ConnectCode::kInvalidArgument, "process selector is missing");
}

RpcResult<Input> ParseInput(const Message& message) {
  RPC_TRY(const auto input, message.Sub("input"));
  if (input) {
    RPC_TRY(auto for_stdin, input->Bytes("stdin"));
    if (for_stdin) return Input{false, *std::move(for_stdin)};
    RPC_TRY(auto for_terminal, input->Bytes("pty"));
    if (for_terminal) return Input{true, *std::move(for_terminal)};
  }
  return RpcFail(ConnectCode::kUnimplemented, "input is neither stdin nor pty");
}

RpcResult<SpawnSpec> PlanSpawn(const StartRequest& request, const User& user,
                               const AgentState& state) {
  SpawnSpec spec;
  spec.user = user;
  spec.terminal = request.terminal;
  spec.stdin_pipe = request.stdin_pipe;
  spec.argv.push_back(request.config.cmd);
  spec.argv.insert(spec.argv.end(), request.config.args.begin(), request.config.args.end());
  // Later wins: the user's own, then the sandbox's, then the call's.
  std::map<std::string, std::string> env = {
      {"PATH", kPath}, {"HOME", user.home}, {"USER", user.name}, {"LOGNAME", user.name}};
  for (const auto& [key, value] : state.env) env[key] = value;
  for (const auto& [key, value] : request.config.envs) env[key] = value;
  for (const auto& [key, value] : env) spec.env.push_back(fmt::format("{}={}", key, value));
  base::Result<std::string> cwd =
      ResolvePath(request.config.cwd.value_or(""), user, state.default_workdir);
  if (!cwd) return RpcFail(ConnectCode::kInvalidArgument, cwd.error().message());
  const base::Result<struct stat> found = sys::Stat(*cwd);
  if (!found || !S_ISDIR(found->st_mode)) {
    return RpcFail(ConnectCode::kInvalidArgument, fmt::format("cwd '{}' does not exist", *cwd));
  }
  spec.cwd = *std::move(cwd);
  return spec;
}

json::object ProcessInfo(const Process& process) {
  const ProcessConfig& config = process.config();
  json::object shown;
  shown["cmd"] = config.cmd;
  if (!config.args.empty()) shown["args"] = json::array(config.args.begin(), config.args.end());
  if (!config.envs.empty()) {
    json::object envs;
    for (const auto& [key, value] : config.envs) envs[key] = value;
    shown["envs"] = std::move(envs);
  }
  if (config.cwd) shown["cwd"] = *config.cwd;
  json::object info;
  info["config"] = std::move(shown);
  info["pid"] = process.pid();
  if (process.tag()) info["tag"] = *process.tag();
  return info;
}

}  // namespace tinderbox::agent
