// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/warm_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/id.h"
#include "base/log.h"
#include "sandbox/agent_link.h"
#include "sandbox/launch.h"
#include "sandbox/teardown.h"
#include "sys/file.h"

namespace tinderbox::sandbox {

using base::Deadline;
using base::Result;
using Clock = std::chrono::steady_clock;

namespace {

// Since the last start for somebody: who has just got a sandbox has a first command to run.
constexpr std::chrono::milliseconds kCalm{400};
constexpr std::chrono::seconds kLook{2};  // how often memory is looked at
constexpr std::chrono::seconds kAfterFailure{30};

// What the host could give to a new process without swapping; all of it where nobody tells.
std::uint64_t AvailableMib() {
  const std::string info = sys::ReadFile("/proc/meminfo").value_or("");
  constexpr std::string_view kName = "MemAvailable:";
  const auto at = info.find(kName);
  if (at == std::string::npos) return UINT64_MAX;
  const auto digits = info.find_first_of("0123456789", at);
  std::uint64_t kib = 0;
  if (digits == std::string::npos) return UINT64_MAX;
  std::from_chars(info.data() + digits, info.data() + info.size(), kib);
  return kib >> 10;
}

}  // namespace

WarmPool::WarmPool(const ManagerOptions& options, Boots& boots)
    : options_(options), boots_(boots) {}

WarmPool::~WarmPool() { Stop(); }

void WarmPool::Start() {
  if (options_.warm_vms == 0 && options_.warm_templates.empty()) return;
  thread_ = std::thread([this] { Run(); });
}

void WarmPool::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
  for (Hot& hot : hot_) {
    for (const WarmVm& member : hot.members) Discard(member);
    hot.members.clear();
  }
}

std::optional<WarmVm> WarmPool::Take(const image::Template& source, Shape shape) {
  if (options_.warm_vms == 0) return std::nullopt;
  auto boot_id = boots_.IdOf(source, shape);
  if (!boot_id) return std::nullopt;
  std::vector<WarmVm> cooled;
  std::optional<WarmVm> taken;
  {
    const std::lock_guard lock(mutex_);
    const auto hot = Touch(std::move(*boot_id), source.id, shape, cooled);
    while (!taken && !hot->members.empty()) {
      WarmVm member = std::move(hot->members.front());
      hot->members.pop_front();
      const bool ended =
          member.vm->process().Wait(Deadline::After(std::chrono::seconds(0))).has_value();
      if (ended) {
        cooled.push_back(std::move(member));
      } else {
        taken = std::move(member);
      }
    }
  }
  for (const WarmVm& member : cooled) Discard(member);
  wake_.notify_all();
  return taken;
}

// Moves a template to the front of the hot ones; what falls off the end goes to `cooled`.
std::list<WarmPool::Hot>::iterator WarmPool::Touch(std::string boot_id,
                                                   const std::string& template_id, Shape shape,
                                                   std::vector<WarmVm>& cooled) {
  const auto found = std::ranges::find(hot_, boot_id, &Hot::boot_id);
  if (found != hot_.end()) {
    hot_.splice(hot_.begin(), hot_, found);
  } else {
    hot_.push_front(Hot{.boot_id = std::move(boot_id), .template_id = template_id, .shape = shape});
  }
  while (hot_.size() > std::max<std::size_t>(options_.hot_templates, 1)) {
    std::ranges::move(hot_.back().members, std::back_inserter(cooled));
    hot_.pop_back();
  }
  return hot_.begin();
}

void WarmPool::Begin() {
  const std::lock_guard lock(mutex_);
  ++busy_;
}

void WarmPool::End() {
  {
    const std::lock_guard lock(mutex_);
    --busy_;
    last_busy_ = Clock::now();
  }
  wake_.notify_all();
}

std::size_t WarmPool::size() {
  const std::lock_guard lock(mutex_);
  std::size_t size = 0;
  for (const Hot& hot : hot_) size += hot.members.size();
  return size;
}

bool WarmPool::Calm() const { return busy_ == 0 && Clock::now() >= last_busy_ + kCalm; }

bool WarmPool::ShortOfMemory() const {
  const std::uint64_t available =
      options_.available_mib ? options_.available_mib() : AvailableMib();
  return available < options_.pool_reserve_mib;
}

// The configured templates have their boot snapshots taken as soon as the daemon runs, so that even
// the first sandbox is restored.
void WarmPool::AddConfigured() {
  for (const std::string& name : options_.warm_templates) {
    const auto source = options_.library.FindTemplate(name);
    if (!source || source->vm) continue;
    const Shape shape{.memory_mib = source->memory_mib, .cpus = source->cpus};
    if (!HasRoom(shape)) continue;
    const auto taken = boots_.Ensure(*source, shape);
    if (!taken) {
      base::LogWarning("sandboxes of a template boot: it has no boot snapshot",
                       {{"template", name}, {"error", taken.error().ToString()}});
      continue;
    }
    std::vector<WarmVm> cooled;
    const std::lock_guard lock(mutex_);
    if (options_.warm_vms == 0 || stopping_) return;
    Touch(*boots_.IdOf(*source, shape), source->id, shape, cooled);
  }
}

void WarmPool::Run() {
  AddConfigured();
  std::unique_lock lock(mutex_);
  while (!stopping_ && options_.warm_vms > 0) {
    if (!Calm()) {
      wake_.wait_for(lock, kCalm);
      continue;
    }
    lock.unlock();
    GiveBack();
    auto hot = NextToFill();
    if (hot) Add(hot->boot_id, Make(*hot));
    lock.lock();
    if (!hot && !stopping_) wake_.wait_for(lock, kLook);
  }
}

// The pool leaves room for a sandbox that comes while it fills.
bool WarmPool::HasRoom(Shape shape) const {
  return options_.capacity == nullptr ||
         options_.capacity->Fits(ResourcesOf(2 * shape.memory_mib, 2 * shape.cpus, 0));
}

std::optional<WarmPool::Hot> WarmPool::NextToFill() {
  if (ShortOfMemory()) return std::nullopt;
  const std::lock_guard lock(mutex_);
  for (const Hot& hot : hot_) {
    if (hot.members.size() >= options_.warm_vms || Clock::now() < hot.not_before) continue;
    if (!HasRoom(hot.shape)) continue;
    return Hot{.boot_id = hot.boot_id, .template_id = hot.template_id, .shape = hot.shape};
  }
  return std::nullopt;
}

Result<> WarmPool::Reserve(const std::string& id, const image::Template& source, Shape shape) {
  if (options_.capacity == nullptr) return {};
  return options_.capacity->Reserve(
      id, ResourcesOf(shape.memory_mib, shape.cpus, source.disk_bytes >> 20), {});
}

Result<WarmVm> WarmPool::Make(const Hot& hot) {
  const auto deadline = Deadline::After(options_.boot_deadline);
  StageClock clock;
  WarmVm member;
  member.id = base::NewSandboxId();
  const auto make = [&]() -> Result<> {
    const image::Template source = TRY(options_.library.FindTemplate(hot.template_id));
    TRY(Reserve(member.id, source, hot.shape));
    member.source = TRY(boots_.Ensure(source, hot.shape));
    const StartedVm started = TRY(StartVm(options_,
                                          {.id = member.id,
                                           .source = member.source,
                                           .restore = true,
                                           .memory_mib = hot.shape.memory_mib,
                                           .cpus = hot.shape.cpus,
                                           .ephemeral = true,
                                           .on_slot = [&](const network::Slot& slot) -> Result<> {
                                             member.slot = slot;
                                             return {};
                                           }},
                                          clock, deadline));
    member.vm = started.vm;
    const AgentLink agent(options_.slots, member.slot.index);
    // Under emulation this is where nearly all the time of a first command goes.
    static_cast<void>(agent.WarmUp(member.vm->process(), deadline));
    return member.vm->Pause(deadline);
  };
  if (auto made = make(); !made) {
    Discard(member);
    return std::unexpected(std::move(made).error());
  }
  return member;
}

void WarmPool::Add(const std::string& boot_id, Result<WarmVm> made) {
  std::unique_lock lock(mutex_);
  const auto hot = std::ranges::find(hot_, boot_id, &Hot::boot_id);
  if (!made) {
    base::LogWarning("the pool could not make a VM", {{"error", made.error().ToString()}});
    if (hot != hot_.end()) hot->not_before = Clock::now() + kAfterFailure;
    return;
  }
  // Made of something else by now: the template was built anew meanwhile.
  const bool wanted = hot != hot_.end() && made->source.id == boot_id;
  if (wanted) return hot->members.push_back(std::move(*made));
  if (hot != hot_.end()) hot_.erase(hot);
  lock.unlock();
  Discard(*made);
}

void WarmPool::Discard(const WarmVm& member) {
  store::SandboxRecord record;
  record.id = member.id;
  record.slot = member.slot.index;
  if (const TeardownOutcome outcome = Teardown(options_, record); !outcome.result) {
    base::LogError("a VM of the pool left something behind",
                   {{"id", member.id}, {"error", outcome.result.error().ToString()}});
  }
}

// One at each look.
void WarmPool::GiveBack() {
  if (ShortOfMemory() && DropOne())
    base::LogInfo("short of memory: a VM of the pool is given back");
}

bool WarmPool::DropOne() {
  std::optional<WarmVm> member;
  {
    const std::lock_guard lock(mutex_);
    for (auto hot = hot_.rbegin(); hot != hot_.rend() && !member; ++hot) {
      if (hot->members.empty()) continue;
      member = std::move(hot->members.back());
      hot->members.pop_back();
    }
  }
  if (!member) return false;
  Discard(*member);
  return true;
}

}  // namespace tinderbox::sandbox
