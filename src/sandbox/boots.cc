// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/boots.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "base/id.h"
#include "base/log.h"
#include "sandbox/agent_link.h"
#include "sandbox/context.h"
#include "sandbox/launch.h"
#include "sandbox/saved.h"
#include "sandbox/teardown.h"

namespace tinderbox::sandbox {

using base::Code;
using base::Deadline;
using base::Result;

namespace {

constexpr std::int64_t kRetryAfterMs = 30'000;
// After its first answer the guest still has a little to do; what is done before the snapshot is
// done once, and not in every clone.
constexpr std::chrono::milliseconds kSettle{200};
// Raised where a guest boots into something better on the same kernel and VMM: boot snapshots from
// before still run, and are made again.
constexpr int kRevision = 2;

}  // namespace

Result<std::string> Boots::IdOf(const image::Template& source, Shape shape) {
  const image::Kernel kernel = TRY(options_.library.DefaultKernel());
  const vmm::Capabilities& driver = options_.driver.capabilities();
  // The rate of the clock is measured, and never twice the same: MisfitOf() compares it.
  return image::IdFromText(fmt::format(
      "boot {} {} {} {} {} {} {} {} {} {} {} {}", kRevision, source.id, source.created_at,
      kernel.version, kernel.build, fmt::join(options_.dns, ","), driver.vmm, driver.version,
      driver.cpu, AcceleratorName(driver.accelerator), shape.memory_mib, shape.cpus));
}

Result<image::Template> Boots::Find(const image::Template& source, Shape shape) {
  const std::string id = TRY(IdOf(source, shape));
  image::Template boot = TRY(options_.library.FindBoot(id));
  if (!boot.vm) return base::Fail(Code::kDataLoss, "the boot snapshot holds no memory");
  const std::string misfit = MisfitOf(*boot.vm, options_.driver.capabilities());
  if (!misfit.empty()) return base::Fail(Code::kNotFound, misfit);
  return boot;
}

Result<image::Template> Boots::Ensure(const image::Template& source, Shape shape) {
  const std::string id = TRY(IdOf(source, shape));
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !in_progress_.contains(id); });
    if (auto found = Find(source, shape)) return found;
    if (const auto failed = failed_.find(id); failed != failed_.end()) {
      if (NowMs() < failed->second.until_ms) return std::unexpected(failed->second.error);
      failed_.erase(failed);
    }
    in_progress_.insert(id);
  }
  auto taken = Take(source, shape, id);
  const std::lock_guard lock(mutex_);
  in_progress_.erase(id);
  if (!taken) failed_.insert_or_assign(id, Failure{taken.error(), NowMs() + kRetryAfterMs});
  changed_.notify_all();
  return taken;
}

bool Boots::InProgress(const std::string& id) {
  const std::lock_guard lock(mutex_);
  return in_progress_.contains(id);
}

Result<image::Template> Boots::Take(const image::Template& source, Shape shape,
                                    const std::string& id) {
  const auto deadline = Deadline::After(options_.boot_deadline);
  StageClock clock;
  store::SandboxRecord record;  // never stored: what it names is swept as nobody's
  record.id = base::NewSandboxId();
  const auto take = [&]() -> Result<image::Template> {
    const StartedVm started = TRY(StartVm(options_,
                                          {.id = record.id,
                                           .source = source,
                                           .memory_mib = shape.memory_mib,
                                           .cpus = shape.cpus,
                                           .ephemeral = true,
                                           .on_slot = [&](const network::Slot& slot) -> Result<> {
                                             record.slot = slot.index;
                                             return {};
                                           }},
                                          clock, deadline));
    const AgentLink agent(options_.slots, record.slot);
    TRY(agent.AwaitHealth(started.vm->process(), deadline));
    clock.Stage("boot");
    if (auto warm = agent.WarmUp(started.vm->process(), deadline); !warm) {
      // An image without a shell boots all the same.
      base::LogWarning("a template's first command failed",
                       {{"template", source.name}, {"error", warm.error().ToString()}});
    }
    if (auto warm = agent.WarmUpLanguage(deadline); !warm) {
      base::LogDebug("a template's first program failed",
                     {{"template", source.name}, {"error", warm.error().ToString()}});
    }
    std::this_thread::sleep_for(kSettle);
    clock.Stage("warm up");
    // Whatever the image's shell leaves here is in every sandbox.
    if (auto frozen = agent.FreezeProcesses({}, deadline); !frozen) {
      base::LogWarning("a boot snapshot is taken while its processes run",
                       {{"template", source.name}, {"error", frozen.error().ToString()}});
    }
    TRY(started.vm->Pause(deadline));
    image::Capture capture = TRY(options_.library.BeginCapture());
    TRY(started.vm->Snapshot({.to = {.memory = capture.memory(), .state = capture.state()},
                              .base = started.files.memory_base},
                             deadline));
    TRY(options_.library.CaptureDisk(capture, record.id));
    clock.Stage("save");
    image::Template info = source;
    info.kind = image::SavedKind::kBoot;
    info.id = id;
    info.created_at.clear();
    info.memory_mib = shape.memory_mib;
    info.cpus = shape.cpus;
    info.parent = source.id;
    info.vm =
        SavedVmOf(options_.driver.capabilities(), TRY(options_.library.DefaultKernel()).version);
    // Its checksums take as long as all the rest, and the first sandbox waits here.
    auto saved = options_.library.Commit(std::move(capture), std::move(info), false);
    clock.Stage("sync");
    return saved;
  };
  auto taken = take();
  const TeardownOutcome outcome = Teardown(options_, record);
  if (!outcome.result) {
    base::LogError("a boot snapshot's VM left something behind",
                   {{"error", outcome.result.error().ToString()}});
  }
  if (!taken) {
    return std::unexpected(std::move(taken).error().WithContext(
        fmt::format("take the boot snapshot of template '{}'", source.name)));
  }
  seal_later_(*taken);
  base::LogInfo("took a boot snapshot",
                {{"template", source.name}, {"id", id}, {"timings", clock.Json()}});
  return taken;
}

Result<std::vector<std::string>> Boots::Prune(std::uint64_t& freed_bytes) {
  std::vector<std::string> removed;
  const std::vector<image::Template> templates = TRY(options_.library.Templates());
  for (const std::string& id : TRY(options_.library.BootIds())) {
    const auto boot = options_.library.FindBoot(id);
    bool fits = false;
    for (const image::Template& source : templates) {
      if (!boot || boot->parent != source.id) continue;
      const auto expected = IdOf(source, {.memory_mib = boot->memory_mib, .cpus = boot->cpus});
      fits = expected && *expected == id && boot->vm &&
             MisfitOf(*boot->vm, options_.driver.capabilities()).empty();
    }
    if (fits || InProgress(id)) continue;
    const std::uint64_t bytes = boot ? options_.library.StoredBytes(*boot) : 0;
    TRY(options_.library.RemoveBoot(id));
    freed_bytes += bytes;
    removed.push_back(id);
  }
  return removed;
}

}  // namespace tinderbox::sandbox
