// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "cli/new_sandbox.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <csignal>
#include <future>

#include "cli/table.h"
#include "sys/file.h"

namespace tinderbox::cli {

namespace json = boost::json;
using base::Code;

json::object CreateBody(const SandboxOptions& options, const Pairs& env) {
  json::object body{{"templateID", options.template_id},
                    {"timeout", options.timeout.value_or(kDefaultTimeout).count()}};
  json::object metadata;
  for (const auto& [key, value] : options.metadata) metadata[key] = value;
  if (!options.name.empty()) metadata["name"] = options.name;
  if (!metadata.empty()) body["metadata"] = metadata;
  if (!env.empty()) {
    json::object variables;
    for (const auto& [key, value] : env) variables[key] = value;
    body["envVars"] = variables;
  }
  if (options.memory_mib) body["memoryMB"] = *options.memory_mib;
  if (options.cpus) body["cpuCount"] = *options.cpus;
  if (!options.volumes.empty()) {
    json::array mounts;
    for (const auto& [name, path] : options.volumes) {
      mounts.push_back(json::object{{"name", name}, {"path", path}});
    }
    body["volumeMounts"] = std::move(mounts);
  }
  if (options.no_internet) body["allow_internet_access"] = false;
  if (!options.on_timeout.empty()) body["autoPause"] = options.on_timeout == "pause";
  if (options.auto_resume) body["autoResume"] = json::object{{"enabled", true}};
  if (options.cold) body["cold"] = true;
  return body;
}

std::string WithTimings(std::string target, bool timings) {
  if (timings) target += "?timings=true";
  return target;
}

std::string TimingsText(const json::value& sandbox) {
  const json::object* object = sandbox.if_object();
  const json::value* timings = object ? object->if_contains("timingsMs") : nullptr;
  if (!timings || !timings->is_object()) return {};
  Table table({"STAGE", "MS"});
  for (const auto& [stage, value] : timings->get_object()) {
    boost::system::error_code ignored;
    const double ms = value.is_number() ? value.to_number<double>(ignored) : 0;
    table.Add({std::string(stage), fmt::format("{:.1f}", ms)});
  }
  const std::string by = TextAt(sandbox, "startedBy");
  return fmt::format("{} started by: {}\n{}", TextAt(sandbox, "sandboxID"), by.empty() ? "-" : by,
                     table.ToString());
}

void TellTimings(const json::value& sandbox) {
  static_cast<void>(sys::WriteAll(sys::FdRef::Borrow(STDERR_FILENO), TimingsText(sandbox)));
}

base::Result<> RemoveSandbox(Session session, const std::string& id) {
  // The VM may use up its grace period first.
  constexpr std::chrono::seconds kRemoveTime{60};
  const auto removed =
      session.Call("DELETE", "/sandboxes/" + id, std::nullopt, base::Deadline::After(kRemoveTime));
  if (removed || removed.error().code() == Code::kNotFound) return {};
  return std::unexpected(removed.error());
}

namespace {

std::unexpected<base::Error> Interrupted(int signal) {
  return std::unexpected(base::Error(Code::kCancelled, "interrupted").WithErrno(signal));
}

}  // namespace

base::Result<json::value> CreateSandbox(const Session& session, const SandboxOptions& options,
                                        const Pairs& env, SignalQueue& signals) {
  const sys::UniqueFd done(::eventfd(0, EFD_CLOEXEC));
  if (!done) return base::FailErrno(errno, "create an eventfd");
  Session own = session;
  auto creating = std::async(std::launch::async, [&own, &options, &env, &done] {
    auto created = own.CallJson("POST", WithTimings("/v2/sandboxes", options.timings),
                                CreateBody(options, env), base::Deadline::After(kCreateTime));
    ::eventfd_write(done.get(), 1);
    return created;
  });
  int first_signal = 0;
  for (;;) {
    pollfd entries[] = {{.fd = done.get(), .events = POLLIN, .revents = 0},
                        {.fd = signals.fd().get(), .events = POLLIN, .revents = 0}};
    if (::poll(entries, 2, -1) < 0 && errno != EINTR) break;
    while (const auto signal = signals.Take()) {
      if (*signal == SIGWINCH || *signal == SIGCONT) continue;
      // The thread cannot be called back; whoever insists leaves the sandbox to its timeout.
      if (first_signal != 0) ::_exit(128 + *signal);
      first_signal = *signal;
    }
    if (entries[0].revents != 0) break;
  }
  base::Result<json::value> created = creating.get();
  if (first_signal == 0 || !created) {
    if (first_signal != 0) return Interrupted(first_signal);
    return created;
  }
  TRY(RemoveSandbox(session, TextAt(*created, "sandboxID")));
  return Interrupted(first_signal);
}

LifeKeeper::LifeKeeper(const Session& session, std::string sandbox, std::chrono::seconds floor)
    : session_(session), sandbox_(std::move(sandbox)), floor_(floor), thread_([this] { Run(); }) {}

LifeKeeper::~LifeKeeper() {
  {
    const std::scoped_lock lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_all();
  thread_.join();
}

void LifeKeeper::Run() {
  // Often enough that two failures in a row do no harm.
  const std::chrono::seconds period = floor_ / 5;
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, period, [this] { return stop_; })) {
    lock.unlock();
    Prolong();
    lock.lock();
  }
}

void LifeKeeper::Prolong() {
  // Refreshing only ever lengthens.
  static_cast<void>(session_.Call("POST", "/sandboxes/" + sandbox_ + "/refreshes",
                                  json::object{{"duration", floor_.count()}},
                                  base::Deadline::After(std::chrono::seconds(5))));
}

}  // namespace tinderbox::cli
