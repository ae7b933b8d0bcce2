// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/launch_record.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <cerrno>
#include <memory>
#include <string_view>

#include "base/id.h"
#include "sys/file.h"
#include "warden/protocol.h"

namespace tinderbox::vmm {

namespace json = boost::json;
using base::Code;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::size_t kMaxRecord = 64 * 1024;

Result<json::object> ParseObject(const std::string& text, std::string_view what) {
  boost::system::error_code error;
  auto value = json::parse(text, error);
  if (error || !value.is_object()) {
    return Fail(Code::kDataLoss, fmt::format("read {}: not a JSON object", what));
  }
  return std::move(value.as_object());
}

std::string StringOf(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string(value->as_string()) : std::string();
}

std::int64_t NumberOf(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  if (value == nullptr) return 0;
  boost::system::error_code error;
  const auto number = value->to_number<std::int64_t>(error);
  return error ? 0 : number;
}

// Whole or not at all, without the fsync that WriteFileAtomic owes to other files.
Result<> Replace(sys::FdRef dir, const std::string& name, const std::string& text) {
  const std::string temporary = fmt::format("{}.{}", name, base::RandomHex(4));
  {
    const auto fd = TRY(sys::OpenAt(dir, temporary, O_WRONLY | O_CREAT | O_EXCL, 0600));
    if (auto written = sys::WriteAll(fd, text); !written) {
      ::unlinkat(dir.get(), temporary.c_str(), 0);
      return std::unexpected(std::move(written).error().WithContext(fmt::format("'{}'", name)));
    }
  }
  if (::renameat(dir.get(), temporary.c_str(), dir.get(), name.c_str()) != 0) {
    const int err = errno;
    ::unlinkat(dir.get(), temporary.c_str(), 0);
    return FailErrno(err, fmt::format("rename to '{}'", name));
  }
  return {};
}

}  // namespace

std::string ToJson(const VmRecord& record) {
  return json::serialize(json::object{
             {"version", 1},
             {"id", record.id},
             {"bootID", record.boot_id},
             {"cgroup", record.cgroup},
             {"vmm", record.vmm},
             {"uid", record.uid},
             {"gid", record.gid},
             {"wardenPID", record.warden_pid},
             {"wardenStart", record.warden_start},
             {"vmmPID", record.vmm_pid},
             {"stopGraceMs", record.stop_grace.count()},
         }) +
         "\n";
}

Result<VmRecord> ParseVmRecord(const std::string& text) {
  const auto object = TRY(ParseObject(text, kRecordFile));
  VmRecord record;
  record.id = StringOf(object, "id");
  record.boot_id = StringOf(object, "bootID");
  record.cgroup = StringOf(object, "cgroup");
  record.vmm = StringOf(object, "vmm");
  record.uid = static_cast<uid_t>(NumberOf(object, "uid"));
  record.gid = static_cast<gid_t>(NumberOf(object, "gid"));
  record.warden_pid = static_cast<pid_t>(NumberOf(object, "wardenPID"));
  record.warden_start = static_cast<std::uint64_t>(NumberOf(object, "wardenStart"));
  record.vmm_pid = static_cast<pid_t>(NumberOf(object, "vmmPID"));
  record.stop_grace = std::chrono::milliseconds(NumberOf(object, "stopGraceMs"));
  if (!base::IsValidVmId(record.id) || record.boot_id.empty()) {
    return Fail(Code::kDataLoss, fmt::format("read {}: no id or no boot id", kRecordFile));
  }
  return record;
}

std::string ToJson(const ExitStatus& status) {
  return json::serialize(json::object{
             {"signalled", status.signalled},
             {"code", status.code},
             {"stopped_by", status.stopped_by},
         }) +
         "\n";
}

Result<ExitStatus> ParseExitStatus(const std::string& text) {
  const auto object = TRY(ParseObject(text, warden::kExitFile));
  const auto* signalled = object.if_contains("signalled");
  if (signalled == nullptr || !signalled->is_bool() || !object.contains("code")) {
    return Fail(Code::kDataLoss, fmt::format("read {}: no status in it", warden::kExitFile));
  }
  return ExitStatus{signalled->as_bool(), static_cast<int>(NumberOf(object, "code")),
                    StringOf(object, "stopped_by")};
}

Result<> WriteRecord(sys::FdRef run_dir, const VmRecord& record) {
  return Replace(run_dir, kRecordFile, ToJson(record));
}

bool HoldsNoVm(sys::FdRef run_dir) {
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(
      ::fdopendir(::openat(run_dir.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)), ::closedir);
  if (!entries) return false;
  const std::string unfinished = fmt::format("{}.", kRecordFile);  // as Replace names them
  while (const dirent* entry = ::readdir(entries.get())) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != ".." && !name.starts_with(unfinished)) return false;
  }
  return true;
}

Result<VmRecord> ReadRecord(const std::string& run_dir) {
  const auto text = TRY(sys::ReadFile(fmt::format("{}/{}", run_dir, kRecordFile), kMaxRecord));
  return ParseVmRecord(text);
}

Result<sys::UniqueFd> MakeExitFile(sys::FdRef run_dir) {
  auto fd = TRY(sys::OpenAt(run_dir, warden::kExitFile, O_RDWR | O_CREAT | O_EXCL, 0600));
  TRY_CTX(sys::WriteAll(fd, std::string(warden::kExitFileBytes - 1, ' ') + "\n"), "'exit.json'");
  return fd;
}

Result<std::optional<ExitStatus>> ReadExitStatus(sys::FdRef exit_file) {
  char buffer[warden::kExitFileBytes];
  const ssize_t n = ::pread(exit_file.get(), buffer, sizeof buffer, 0);
  if (n < 0) return FailErrno(errno, "read the exit status");
  const std::string text(buffer, static_cast<std::size_t>(n));
  if (text.find_first_not_of(" \n") == std::string::npos) return std::optional<ExitStatus>();
  return std::optional(TRY(ParseExitStatus(text)));
}

Result<> WriteExitStatus(sys::FdRef exit_file, const ExitStatus& status) {
  std::string text = ToJson(status);
  text.resize(std::max(text.size(), warden::kExitFileBytes - 1), ' ');
  if (::pwrite(exit_file.get(), text.data(), text.size(), 0) < 0) {
    return FailErrno(errno, "keep the exit status");
  }
  return {};
}

}  // namespace tinderbox::vmm
