// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/apt.h"

#include <fmt/format.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <initializer_list>
#include <memory>

#include "base/deadline.h"
#include "base/split.h"
#include "sys/directory.h"
#include "sys/file.h"
#include "sys/tool.h"

namespace tinderbox::image {

using base::Code;
using base::Result;
using base::Split;

namespace {

constexpr auto kQueryTime = std::chrono::minutes(1);
constexpr auto kDownloadTime = std::chrono::minutes(10);

bool ContainsAny(std::string_view text, std::initializer_list<std::string_view> needles) {
  return std::ranges::any_of(needles, [&](std::string_view n) { return text.contains(n); });
}

// "linux-image-" and a version that begins with a digit: apt prints names only, but what goes into
// an argument list is checked all the same.
bool IsKernelPackage(std::string_view name) {
  constexpr std::string_view kPrefix = "linux-image-";
  return name.starts_with(kPrefix) && name.size() > kPrefix.size() && name.size() < 128 &&
         name[kPrefix.size()] >= '0' && name[kPrefix.size()] <= '9' &&
         std::ranges::all_of(
             name,
             [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
                      c == '+' || c == '~';
             });
}

Result<sys::ToolResult> RunApt(std::vector<std::string> argv, const std::string& cwd,
                               std::chrono::minutes time) {
  sys::ToolSpec spec;
  spec.argv = std::move(argv);
  spec.env = TransportEnvironment();
  spec.cwd = cwd;
  spec.deadline = base::Deadline::After(time);
  return sys::RunTool(spec);
}

// Options that make apt keep its package lists and caches in `dir` instead of the host's.
Result<std::vector<std::string>> PrivateLists(const std::string& dir) {
  TRY(sys::MakeDirs(dir + "/lists/partial"));
  TRY(sys::MakeDirs(dir + "/cache/archives/partial"));
  return std::vector<std::string>{"-o", fmt::format("Dir::State::Lists={}/lists", dir), "-o",
                                  fmt::format("Dir::Cache={}/cache", dir)};
}

std::vector<std::string> Command(std::string_view program, const std::vector<std::string>& options,
                                 std::initializer_list<std::string> rest) {
  std::vector<std::string> argv{std::string(program)};
  argv.insert(argv.end(), options.begin(), options.end());
  argv.insert(argv.end(), rest);
  return argv;
}

Result<std::string> Resolve(const std::string& meta, const std::vector<std::string>& options) {
  const auto result =
      TRY(RunApt(Command("apt-cache", options, {"depends", meta}), "/", kQueryTime));
  if (result.exit_code != 0) {
    return std::unexpected(
        AptError(fmt::format("find package '{}'", meta), result.exit_code, result.error_tail));
  }
  return ParseKernelDependency(result.output, meta);
}

struct Downloader {
  uid_t uid = 0;
  gid_t gid = 0;
};

// The account that apt downloads and parses as, so that a hostile server does not meet root. Root
// where the host has none.
Result<Downloader> FindDownloader() {
  passwd entry{};
  passwd* found = nullptr;
  std::array<char, 4096> buffer;
  const int err = ::getpwnam_r("_apt", &entry, buffer.data(), buffer.size(), &found);
  if (err != 0) return base::FailErrno(err, "look up user '_apt'");
  if (found == nullptr) return Downloader{};
  return Downloader{.uid = entry.pw_uid, .gid = entry.pw_gid};
}

// apt falls back to root, with a warning, where its downloader cannot write.
Result<> Give(const std::string& path, Downloader owner) {
  if (::lchown(path.c_str(), owner.uid, owner.gid) == 0) return {};
  return base::FailErrno(errno, fmt::format("give '{}' to user {}", path, owner.uid));
}

Result<std::string> FindDeb(const std::string& dir) {
  for (const auto& name : TRY(sys::NamesIn(dir))) {
    if (name.ends_with(".deb")) return fmt::format("{}/{}", dir, name);
  }
  return base::Fail(Code::kInternal, fmt::format("find the downloaded package in '{}'", dir));
}

Result<DownloadedPackage> Download(const std::string& meta, const std::string& dir,
                                   const std::vector<std::string>& options,
                                   const Progress& progress) {
  const auto package = TRY(Resolve(meta, options));
  progress(fmt::format("downloading {}", package));
  const std::string place = dir + "/download";
  TRY(sys::MakeDirs(place, 0700));
  const Downloader downloader = TRY(FindDownloader());
  TRY(Give(place, downloader));
  const auto result = TRY(
      RunApt(Command("apt-get", options, {"-q", "-o", "Acquire::Retries=2", "download", package}),
             place, kDownloadTime));
  TRY(Give(place, {}));
  if (result.exit_code != 0) {
    return std::unexpected(AptError(fmt::format("download package '{}'", package), result.exit_code,
                                    result.error_tail));
  }
  const std::string file = TRY(FindDeb(place));
  TRY(Give(file, {}));
  return DownloadedPackage{package, file};
}

// What went wrong, of all that a tool has said: a full disk, or else the first error, or warning.
std::string Reason(int exit_code, std::string_view messages) {
  constexpr std::size_t kMaxReason = 300;
  const auto lines = Split(messages, '\n');
  for (const std::string_view mark : {"No space left on device", "E: ", "W: "}) {
    const auto found = std::ranges::find_if(lines, [&](auto line) {
      return mark.ends_with(' ') ? line.starts_with(mark) : line.contains(mark);
    });
    if (found == lines.end()) continue;
    const auto text = mark.ends_with(' ') ? found->substr(mark.size()) : *found;
    return fmt::format("{}{}", text.substr(0, kMaxReason), text.size() > kMaxReason ? "…" : "");
  }
  return fmt::format("exit code {}", exit_code);
}

}  // namespace

Result<std::string> ParseKernelDependency(std::string_view depends, const std::string& meta) {
  if (IsKernelPackage(meta)) return meta;
  for (const auto line : Split(depends, '\n')) {
    const auto words = Split(line, ' ');
    if (words.size() == 2 && words[0] == "Depends:" && IsKernelPackage(words[1])) {
      return std::string(words[1]);
    }
  }
  return std::unexpected(
      base::Error(Code::kNotFound,
                  fmt::format("find package '{}': apt knows no kernel by it", meta))
          .WithRemedy("Run 'apt-get update'; the host's apt sources must hold a Debian archive."));
}

Result<std::string> ResolveKernelPackage(const std::string& meta) { return Resolve(meta, {}); }

Result<DownloadedPackage> DownloadKernelPackage(const std::string& meta, const std::string& dir,
                                                const Progress& progress) {
  // To be passed by the downloader; what else is in it has modes of its own.
  if (::chmod(dir.c_str(), 0711) != 0) {
    return base::FailErrno(errno, fmt::format("set the mode of '{}'", dir));
  }
  auto first = Download(meta, dir, {}, progress);
  // Without disk space, or without apt, fresh lists do not help.
  if (first || first.error().code() == Code::kResourceExhausted ||
      !sys::Exists("/usr/bin/apt-get")) {
    return first;
  }
  progress("fetching fresh package lists");
  const auto options = TRY(PrivateLists(dir));
  const auto updated =
      TRY(RunApt(Command("apt-get", options, {"-q", "update"}), dir, kDownloadTime));
  if (updated.exit_code != 0) {
    return std::unexpected(AptError("fetch package lists", updated.exit_code, updated.error_tail));
  }
  auto second = Download(meta, dir, options, progress);
  // apt-get update succeeds even where it could fetch nothing, and says why in warnings only.
  if (!second && second.error().code() != Code::kResourceExhausted &&
      updated.error_tail.contains("W: ")) {
    return std::unexpected(AptError("fetch package lists", updated.exit_code, updated.error_tail));
  }
  return second;
}

std::vector<std::string> DebianSources(std::string_view policy, std::string_view suite) {
  std::vector<std::string> sources;
  std::string_view url;
  std::string_view place;
  for (const auto line : Split(policy, '\n')) {
    const auto words = Split(line, ' ');
    if (words.size() >= 4 && words.back() == "Packages") {  // 500 URL SUITE/COMPONENT ARCH Packages
      url = words[1];
      place = words[2];
    } else if (!words.empty() && words[0] == "release" && !url.empty()) {
      const auto slash = place.find('/');
      const auto release = place.substr(0, slash);
      const bool wanted = slash != std::string_view::npos && place.substr(slash + 1) == "main" &&
                          (release == suite || release == fmt::format("{}-updates", suite) ||
                           release == fmt::format("{}-security", suite));
      // Only what a Debian archive calls its own: others use Debian's suite names too.
      if (wanted && line.contains(",o=Debian,") && url.starts_with("http") && !url.contains('@')) {
        sources.push_back(fmt::format("deb {} {} main", url, release));
      }
      url = {};
    }
  }
  const auto base = fmt::format(" {} main", suite);
  if (std::ranges::none_of(sources, [&](const auto& s) { return s.ends_with(base); })) {
    return {fmt::format("deb http://deb.debian.org/debian {} main", suite),
            fmt::format("deb http://deb.debian.org/debian {}-updates main", suite),
            fmt::format("deb http://deb.debian.org/debian-security {}-security main", suite)};
  }
  std::ranges::sort(sources, {}, [](const std::string& s) { return s.size(); });
  return sources;
}

std::vector<std::string> TransportSettings(std::string_view config) {
  std::vector<std::string> settings;
  for (const auto line : Split(config, '\n')) {
    const auto name = line.substr(0, line.find(' '));
    const bool transport =
        name.starts_with("Acquire::http") &&
        ContainsAny(name, {"Proxy", "CaInfo", "CAInfo", "CaPath", "Verify-", "Timeout"});
    if ((transport || name == "Acquire::Check-Valid-Until" || name == "Acquire::Check-Date") &&
        line.ends_with("\";") && !line.contains("\"\"")) {
      settings.emplace_back(line);
    }
  }
  return settings;
}

std::vector<std::string> TransportEnvironment() {
  constexpr std::array kNames = {"http_proxy",  "https_proxy", "no_proxy",      "HTTP_PROXY",
                                 "HTTPS_PROXY", "NO_PROXY",    "SSL_CERT_FILE", "SSL_CERT_DIR"};
  std::vector<std::string> environment;
  for (const char* name : kNames) {
    const char* value = std::getenv(name);
    if (value != nullptr) environment.push_back(fmt::format("{}={}", name, value));
  }
  return environment;
}

base::Error AptError(std::string_view what, int exit_code, std::string_view messages) {
  const std::string why = Reason(exit_code, messages);
  if (ContainsAny(messages, {"No space left", "You don't have enough free space", "Disk quota"})) {
    return base::Error(Code::kResourceExhausted, fmt::format("{}: {}", what, why))
        .WithRemedy("Free disk space below the state directory, then try again.");
  }
  if (ContainsAny(messages,
                  {"does not have a Release file", "Release' is not signed", "404  Not"})) {
    return base::Error(Code::kNotFound, fmt::format("{}: {}", what, why))
        .WithRemedy(
            "The archive does not have this suite or version: check its name, and the "
            "host's apt sources ('apt-get update' must succeed).");
  }
  if (ContainsAny(messages, {"Could not resolve", "Temporary failure", "Could not connect",
                             "Unable to connect", "Failed to fetch", "Connection timed out",
                             "Network is unreachable"})) {
    return base::Error(Code::kUnavailable, fmt::format("{}: {}", what, why))
        .WithRemedy(
            "See that this host reaches its Debian archive ('apt-get update' must succeed; "
            "a proxy is taken from apt's configuration or http_proxy), then try again.");
  }
  return base::Error(Code::kInternal, fmt::format("{}: {}", what, why))
      .WithRemedy("Run 'apt-get update', and see that it succeeds, then try again.");
}

}  // namespace tinderbox::image
