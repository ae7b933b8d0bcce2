// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <filesystem>
#include <sstream>

#include "launch/options.h"

namespace tinderbox::launch {

using base::Code;
using base::Fail;
using base::Result;
using std::chrono::milliseconds;

namespace {

constexpr char kExamples[] = R"(Examples:
  One VM in the foreground; its serial console is shown, its exit status is ours:
    sudo tinderbox-launch start --id one --vmm qemu --kernel ./vmlinux --cmdline 'console=ttyS0'
  Under Firecracker, in a network namespace with a TAP device, in the background:
    sudo tinderbox-launch start --id two --vmm firecracker --kernel ./vmlinux \
        --rootfs ./disk.ext4 --netns blue --tap tap0 --memory 256 --cpus 2 --detach
    sudo tinderbox-launch ps
    sudo tinderbox-launch console two
    sudo tinderbox-launch stop two --grace 5s
)";

void AddGrace(CLI::App* app, const std::function<void(milliseconds)>& take,
              const std::string& what) {
  app->add_option_function<std::string>(
         "--grace",
         [take](const std::string& text) {
           const auto grace = ParseGrace(text);
           if (!grace) throw CLI::ValidationError("--grace", grace.error().message());
           take(*grace);
         },
         what)
      ->type_name("DURATION");
}

void AddStart(CLI::App& app, Options& options) {
  auto* start = app.add_subcommand("start", "Start a VM, in the foreground unless --detach");
  start->footer(kExamples);
  auto into = std::make_shared<StartOptions>();
  start->add_option("--id", into->id, "Name of the VM: a-z, 0-9 and '-', at most 64")->required();
  start->add_option("--vmm", into->vmm, "firecracker or qemu")
      ->required()
      ->check(CLI::IsMember({"firecracker", "qemu"}));
  start->add_option("--vmm-binary", into->binary,
                    "The VMM's program; default: $TINDERBOX_FIRECRACKER, then PATH");
  start->add_option("--kernel", into->kernel, "Uncompressed ELF kernel (vmlinux)")->required();
  start->add_option("--initrd", into->initrd, "Initial RAM disk");
  start->add_option("--rootfs", into->rootfs, "Raw disk image; must belong to the VM's uid");
  start->add_flag("--rootfs-read-only", into->rootfs_read_only, "The guest cannot write to it");
  start->add_option("--netns", into->netns, "Network namespace: a name of 'ip netns', or a path");
  start->add_option("--tap", into->tap, "TAP device inside --netns");
  start->add_option("--mac", into->mac, "The guest's MAC address");
  start->add_option("--memory", into->memory_mib, "Guest memory in MiB")->capture_default_str();
  start->add_option("--cpus", into->cpus, "Virtual CPUs")->capture_default_str();
  start->add_option("--cmdline", into->cmdline, "Kernel command line");
  start->add_flag("-d,--detach", into->detach, "Print the API socket's path once the VMM answers");
  start->add_flag("--timings", into->timings, "Print how long each step of the launch took");
  start->add_option("--uid", into->uid, "User id of the VMM; default: one that follows from --id");
  start->add_option("--gid", into->gid, "Group id of the VMM; default: as --uid");
  start->add_option("--fail-at", into->fail_at)->group("");
  AddGrace(
      start, [into](milliseconds grace) { into->grace = grace; },
      "From TERM to KILL when the VM is stopped; default 10s");
  start->callback([into, &options] { options.command = *into; });
}

void AddOthers(CLI::App& app, Options& options) {
  auto* wait = app.add_subcommand("wait", "Wait until a VM ends, and exit with its status");
  auto wait_into = std::make_shared<WaitOptions>();
  wait->add_option("ID", wait_into->id)->required();
  wait->callback([wait_into, &options] { options.command = *wait_into; });

  auto* stop = app.add_subcommand(
      "stop", "TERM, a grace, KILL; says which of them ended the VM, and removes what it leaves");
  auto stop_into = std::make_shared<StopOptions>();
  stop->add_option("ID", stop_into->id)->required();
  AddGrace(
      stop, [stop_into](milliseconds grace) { stop_into->grace = grace; },
      "From TERM to KILL; default: what 'start' was told");
  stop->callback([stop_into, &options] { options.command = *stop_into; });

  auto* list = app.add_subcommand("ps", "List the VMs, those that have ended included");
  list->callback([&options] { options.command = ListOptions{}; });

  auto* console = app.add_subcommand("console", "Print the last of a VM's serial console");
  auto console_into = std::make_shared<ConsoleOptions>();
  console->add_option("ID", console_into->id)->required();
  console->add_flag("-f,--follow", console_into->follow, "Go on until the VM ends");
  console->callback([console_into, &options] { options.command = *console_into; });
}

}  // namespace

std::variant<Options, Printed> ParseArguments(int argc, const char* const* argv) {
  Options options;
  CLI::App app("Starts one VM under its own warden, in a jail of its own, without any daemon.",
               "tinderbox-launch");
  app.footer(kExamples);
  app.require_subcommand(1);
  app.set_version_flag("--version", "tinderbox-launch " TINDERBOX_VERSION);
  app.fallthrough();
  app.add_option("--run-dir", options.run_dir, "Where the VMs' directories are")
      ->capture_default_str();
  app.add_flag("--json", options.json, "Print JSON");
  AddStart(app, options);
  AddOthers(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::ostringstream out;
    std::ostringstream complaint;
    const int code = app.exit(error, out, complaint);
    return Printed{out.str() + complaint.str(), code == 0 ? 0 : 2};
  }
  std::error_code error;
  const auto absolute = std::filesystem::absolute(options.run_dir, error).lexically_normal();
  if (!error) options.run_dir = absolute.string();
  while (options.run_dir.size() > 1 && options.run_dir.back() == '/') options.run_dir.pop_back();
  return options;
}

Result<milliseconds> ParseGrace(std::string_view text) {
  std::uint32_t number = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, number);
  const std::string_view unit(parsed.ptr, static_cast<std::size_t>(end - parsed.ptr));
  std::uint64_t factor = 0;
  if (unit == "ms") factor = 1;
  if (unit.empty() || unit == "s") factor = 1000;
  if (unit == "m") factor = 60 * 1000;
  if (unit == "h") factor = 3600 * 1000;
  if (parsed.ec != std::errc() || factor == 0 || number * factor > 86400000) {
    return Fail(Code::kInvalidArgument,
                fmt::format("'{}' is no duration of at most 24 hours (like 10s or 500ms)", text));
  }
  return milliseconds(number * factor);
}

}  // namespace tinderbox::launch
