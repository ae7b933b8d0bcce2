// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The commands on VMs that are there already: wait, stop, ps, console.
#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <cstdio>
#include <memory>

#include "base/id.h"
#include "launch/commands.h"
#include "launch/console_follower.h"
#include "sys/directory.h"
#include "sys/file.h"
#include "sys/pidfd.h"

namespace tinderbox::launch {

namespace json = boost::json;
using base::Code;
using base::Deadline;
using base::Error;
using base::Fail;
using base::Result;

namespace {

constexpr std::size_t kConsoleBytes = 1 << 20;

Result<> Print(std::string_view text) { return sys::WriteAll(sys::FdRef::Borrow(1), text); }

// The names in the run directory that are ids, sorted; none where it does not exist.
std::vector<std::string> Ids(const std::string& run_dir) {
  auto ids = sys::NamesIn(run_dir).value_or(std::vector<std::string>{});
  std::erase_if(ids, [](const std::string& name) { return !base::IsValidVmId(name); });
  return ids;
}

}  // namespace

Result<std::string> RunDirOf(const Options& options, const std::string& id) {
  if (!base::IsValidVmId(id)) {
    return std::unexpected(
        Error(Code::kInvalidArgument, fmt::format("'{}' is no id of a VM", id))
            .WithRemedy("Use 1-64 characters of a-z, 0-9 and '-', the first a letter or digit."));
  }
  return fmt::format("{}/{}", options.run_dir, id);
}

Result<std::unique_ptr<vmm::LaunchedVm>> Find(const Options& options, const std::string& id) {
  auto vm = vmm::Adopt(TRY(RunDirOf(options, id)));
  if (vm || vm.error().code() != Code::kNotFound) return vm;
  return std::unexpected(
      Error(Code::kNotFound, fmt::format("there is no VM '{}' in '{}'", id, options.run_dir))
          .WithRemedy("'tinderbox-launch ps' lists those that are there."));
}

int ExitCodeOf(const vmm::ExitStatus& status) {
  return status.signalled ? 128 + status.code : status.code;
}

std::string Describe(const vmm::ExitStatus& status) {
  return fmt::format("{} {}", status.signalled ? "signal" : "exit code", status.code);
}

json::object ToJson(const vmm::ExitStatus& status) {
  return {{"signalled", status.signalled}, {"code", status.code}, {"stoppedBy", status.stopped_by}};
}

Result<int> Wait(const Options& options, const WaitOptions& wait) {
  const auto vm = TRY(Find(options, wait.id));
  const auto status = TRY(vm->Wait(Deadline::Never()));
  if (options.json) {
    auto object = ToJson(status);
    object["id"] = wait.id;
    TRY(Print(json::serialize(object) + "\n"));
  } else {
    TRY(Print(fmt::format("{}: {}{}\n", wait.id, Describe(status),
                          status.stopped_by.empty() ? "" : ", by " + status.stopped_by)));
  }
  return ExitCodeOf(status);
}

Result<int> Stop(const Options& options, const StopOptions& stop) {
  const auto vm = TRY(Find(options, stop.id));
  const auto status = TRY(vm->Stop(stop.grace));
  if (auto removed = vmm::Remove(vm->run_dir());
      !removed && removed.error().code() != Code::kNotFound) {
    return std::unexpected(std::move(removed).error());
  }
  if (options.json) {
    auto object = ToJson(status);
    object["id"] = stop.id;
    TRY(Print(json::serialize(object) + "\n"));
  } else if (status.stopped_by.empty()) {
    TRY(Print(fmt::format("{}: had ended already ({})\n", stop.id, Describe(status))));
  } else {
    TRY(Print(
        fmt::format("{}: stopped by {} ({})\n", stop.id, status.stopped_by, Describe(status))));
  }
  return 0;
}

Result<int> List(const Options& options) {
  json::array list;
  std::string table =
      fmt::format("{:<24} {:<8} {:>8} {:>8}  {}\n", "ID", "STATE", "VMM PID", "WARDEN", "STATUS");
  for (const auto& id : Ids(options.run_dir)) {
    // One that is just being started or removed is not listed.
    const auto vm = vmm::Adopt(TRY(RunDirOf(options, id)));
    if (!vm) continue;
    const auto status = (*vm)->Wait(Deadline::After({}));
    if (!status && status.error().code() != Code::kDeadlineExceeded) continue;
    json::object object{{"id", id},
                        {"state", status ? "ended" : "running"},
                        {"vmmPid", (*vm)->vmm_pid()},
                        {"wardenPid", (*vm)->warden_pid()},
                        {"runDir", (*vm)->run_dir()},
                        {"apiSocket", (*vm)->run_dir() + "/api.sock"}};
    if (status) object["exit"] = ToJson(*status);
    list.push_back(std::move(object));
    table += fmt::format("{:<24} {:<8} {:>8} {:>8}  {}\n", id, status ? "ended" : "running",
                         (*vm)->vmm_pid(), (*vm)->warden_pid(), status ? Describe(*status) : "");
  }
  TRY(Print(options.json ? json::serialize(list) + "\n" : table));
  return 0;
}

Result<int> ShowConsole(const Options& options, const ConsoleOptions& console) {
  const auto vm = TRY(Find(options, console.id));
  if (options.json) {
    const json::object object{{"id", console.id}, {"console", TRY(vm->ConsoleTail(kConsoleBytes))}};
    TRY(Print(json::serialize(object) + "\n"));
    return 0;
  }
  if (!console.follow) {
    const auto text = TRY(vm->ConsoleTail(kConsoleBytes));
    TRY(Print(text));
    return 0;
  }
  auto follower = TRY(ConsoleFollower::Open(vm->run_dir()));
  for (;;) {
    pollfd entries[] = {{vm->pidfd().get(), POLLIN, 0}, {follower.events().get(), POLLIN, 0}};
    // Asked before the console is read, so that the last words are not missed.
    const bool ended = TRY(sys::WaitPidFd(vm->pidfd(), Deadline::After({})));
    TRY(follower.Drain(Print));
    if (ended) return 0;
    if (::poll(entries, 2, -1) < 0 && errno != EINTR) return base::FailErrno(errno, "poll");
  }
}

}  // namespace tinderbox::launch
