// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/base_rootfs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <chrono>
#include <string_view>

#include "image/internal/apt.h"
#include "image/internal/checksum.h"
#include "image/internal/rootfs_tree.h"
#include "sys/file.h"
#include "sys/tool.h"

namespace tinderbox::image {

using base::Code;
using base::Result;

namespace {

// Raised whenever the same suite and packages would give another template: sandboxes get the new
// one the next time the host is prepared.
constexpr int kRecipeVersion = 2;

constexpr uid_t kUserId = 1000;
constexpr std::uint64_t kRoomNeeded = 2ull << 30;

// libnss-myhostname: sudo looks its host's name up, whatever that is set to.
// clang-format off
constexpr auto kPackages = std::to_array<std::string_view>({
    "bash", "bzip2", "ca-certificates", "curl", "file", "git", "gzip", "iproute2", "iputils-ping",
    "jq", "less", "libnss-myhostname", "nano", "ncurses-base", "ncurses-bin", "netbase",
    "openssh-client", "patch", "procps", "psmisc", "python-is-python3", "python3", "python3-pip",
    "python3-venv", "sudo", "tzdata", "unzip", "wget", "xz-utils", "zip"});
// clang-format on

// Manuals and translations are a quarter of the tree; nothing in a sandbox reads them. What dpkg
// does to survive a crash is of no use in what is thrown away then.
constexpr std::array<const char*, 6> kDpkgOptions = {"force-unsafe-io",
                                                     "path-exclude=/usr/share/man/*",
                                                     "path-exclude=/usr/share/locale/*",
                                                     "path-exclude=/usr/share/doc/*",
                                                     "path-include=/usr/share/doc/*/copyright",
                                                     "path-include=/usr/share/locale/locale.alias"};

constexpr std::string_view kHosts =
    "127.0.0.1 localhost\n"
    "127.0.1.1 sandbox\n"
    "::1 localhost ip6-localhost ip6-loopback\n";

// pip may install beside Debian's packages: a sandbox is thrown away, and there is nobody in it who
// would be better served by a virtual environment.
constexpr std::string_view kPipConf = "[global]\nbreak-system-packages = true\n";

Result<std::string> Query(std::vector<std::string> argv) {
  sys::ToolSpec spec;
  spec.argv = std::move(argv);
  spec.deadline = base::Deadline::After(std::chrono::minutes(1));
  auto result = sys::RunTool(spec);
  // A host without apt has no settings of apt.
  if (!result && result.error().code() == Code::kNotFound) return std::string();
  if (!result) return std::unexpected(std::move(result).error());
  return std::move(result->output);
}

Result<> RunMmdebstrap(const BaseRecipe& recipe, const Workspace& workspace,
                       const std::string& tree, const std::string& sources,
                       const Progress& progress) {
  sys::ToolSpec spec;
  spec.argv = {"mmdebstrap",
               "--mode=root",
               "--variant=minbase",
               "--format=directory",
               fmt::format("--include={}", fmt::join(kPackages, ",")),
               "--aptopt=Acquire::Languages \"none\""};
  for (const auto& setting : TransportSettings(TRY(Query({"apt-config", "dump"})))) {
    spec.argv.push_back("--aptopt=" + setting);
  }
  for (const char* option : kDpkgOptions) spec.argv.push_back(fmt::format("--dpkgopt={}", option));
  spec.argv.insert(spec.argv.end(), {recipe.suite, tree, sources});
  spec.env = TransportEnvironment();
  spec.env.push_back("TMPDIR=" + workspace.dir());
  spec.deadline = base::Deadline::After(std::chrono::minutes(20));
  spec.on_line = [&](std::string_view line) {
    // Its processes tell each other by signals, which is nobody's business.
    if (line.starts_with("I: ") && !line.contains("signal")) progress(line.substr(3));
  };
  auto result = sys::RunTool(spec);
  if (!result)
    return std::unexpected(std::move(result).error().WithContext("build template 'base'"));
  if (result->exit_code == 0) return {};
  return std::unexpected(
      AptError("build template 'base' with mmdebstrap", result->exit_code, result->error_tail));
}

Result<> AddUser(const RootfsTree& tree) {
  TRY(tree.Append("/etc/passwd",
                  fmt::format("{0}:x:{1}:{1}::{2}:/bin/bash\n", kBaseUser, kUserId, kBaseHome)));
  TRY(tree.Append("/etc/group", fmt::format("{}:x:{}:\n", kBaseUser, kUserId)));
  // No password: none can be given, so nothing but sudo leads from one user to another.
  TRY(tree.Append("/etc/shadow", fmt::format("{}:*:19000:0:99999:7:::\n", kBaseUser)));
  TRY(tree.Append("/etc/gshadow", fmt::format("{}:*::\n", kBaseUser)));
  TRY(tree.MakeDir(kBaseHome, {.mode = 0755, .uid = kUserId, .gid = kUserId}));
  for (const char* name : {".bashrc", ".profile", ".bash_logout"}) {
    const auto content = TRY(tree.Read(fmt::format("/etc/skel/{}", name)));
    TRY(tree.Write(fmt::format("{}/{}", kBaseHome, name), content,
                   {.mode = 0644, .uid = kUserId, .gid = kUserId}));
  }
  return tree.Write("/etc/sudoers.d/user",
                    fmt::format("{} ALL=(ALL:ALL) NOPASSWD: ALL\n", kBaseUser), {.mode = 0440});
}

// Every command of an SDK is a login shell. Debian's /etc/profile runs `id` in each, which costs as
// much as the shell itself; bash knows the answer.
Result<> QuickenProfile(const RootfsTree& tree) {
  constexpr std::string_view kSlow = "\"$(id -u)\"";
  constexpr std::string_view kQuick = "\"${EUID:-$(id -u)}\"";
  std::string profile = TRY(tree.Read("/etc/profile"));
  for (auto at = profile.find(kSlow); at != std::string::npos;
       at = profile.find(kSlow, at + kQuick.size())) {
    profile.replace(at, kSlow.size(), kQuick);
  }
  return tree.Write("/etc/profile", profile);
}

}  // namespace

std::string BaseRecipe::Hash() const {
  return Sha256Hex(fmt::format("{}\n{}\n{}\n{}\n{}\n{}\n{}", kRecipeVersion, suite, disk_bytes,
                               fmt::join(kPackages, ","), fmt::join(kDpkgOptions, ","), kHosts,
                               kPipConf));
}

Result<> FurnishRootfs(const std::string& dir, const std::vector<std::string>& sources) {
  const auto tree = TRY(RootfsTree::Open(dir));
  TRY(AddUser(tree));
  TRY(QuickenProfile(tree));
  // mmdebstrap copies these from the host; the agent sets them in each sandbox.
  TRY(tree.Write("/etc/hostname", "sandbox\n"));
  TRY(tree.Write("/etc/hosts", kHosts));
  TRY(tree.Write("/etc/resolv.conf", "# Written by the sandbox's agent at start.\n"));
  TRY(tree.Write("/etc/machine-id", ""));
  TRY(tree.Write("/etc/pip.conf", kPipConf));
  TRY(tree.Write("/etc/apt/sources.list", fmt::format("{}\n", fmt::join(sources, "\n"))));
  // The host's proxy is no business of the guest.
  TRY(tree.Remove("/etc/apt/apt.conf.d/99mmdebstrap"));
  TRY(tree.Write("/etc/apt/apt.conf.d/90sandbox", "Acquire::Languages \"none\";\n"));
  for (const char* log :
       {"/var/log/dpkg.log", "/var/log/alternatives.log", "/var/log/bootstrap.log",
        "/var/log/apt/history.log", "/var/log/apt/term.log", "/var/log/apt/eipp.log.xz",
        "/var/cache/ldconfig/aux-cache"}) {
    const auto removed = tree.Remove(log);
    if (!removed && removed.error().code() != Code::kNotFound) return removed;
  }
  return {};
}

Result<std::string> BuildBaseRootfs(const BaseRecipe& recipe, const Workspace& workspace,
                                    const Progress& progress) {
  TRY(RequireFreeSpace(workspace.dir(), kRoomNeeded));
  const auto sources = DebianSources(TRY(Query({"apt-cache", "policy"})), recipe.suite);
  const auto list = workspace.dir() + "/sources.list";
  TRY(sys::WriteFileAtomic(list, fmt::format("{}\n", fmt::join(sources, "\n"))));
  const auto tree = TRY(workspace.MakeDir("rootfs"));
  progress(fmt::format("building template 'base': Debian {} with {} packages", recipe.suite,
                       kPackages.size()));
  TRY(RunMmdebstrap(recipe, workspace, tree, list, progress));
  TRY_CTX(FurnishRootfs(tree, sources), "build template 'base'");
  return tree;
}

}  // namespace tinderbox::image
