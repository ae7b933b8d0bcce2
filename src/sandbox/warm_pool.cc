// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/warm_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

#include "base/id.h"
#include "base/log.h"
#include "sandbox/agent_link.h"
#include "sandbox/launch.h"
#include "sandbox/teardown.h"
#include "sys/file.h"
#include "sys/pidfd.h"

namespace tinderbox::sandbox {

using base::Deadline;
using base::Result;
using Clock = std::chrono::steady_clock;

namespace {

// Since the last start for a client, if no core is idle: the new sandbox has a first command to
// run.
constexpr std::chrono::milliseconds kCalm{400};
constexpr std::chrono::seconds kLook{2};  // between looks at memory and demand
constexpr std::chrono::seconds kAfterFailure{30};
// After a client's create needed what the pool held. Otherwise the pool could take it again while
// the create still waits for more.
constexpr std::chrono::milliseconds kYield{500};
// The cores that must be idle, without the pool's own work. The pool's thread keeps one core busy:
// with less than half of one it would mostly take time from sandboxes.
constexpr double kIdleCores = 0.5;

// The memory that a new process could get without swapping; no limit if the kernel does not say.
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
  for (const WarmVm& member : leaving_) Discard(member);
  leaving_.clear();
}

std::optional<WarmVm> WarmPool::Take(const image::Template& source, Shape shape) {
  if (options_.warm_vms == 0) return std::nullopt;
  auto boot_id = boots_.IdOf(source, shape);
  if (!boot_id) return std::nullopt;
  std::optional<WarmVm> taken;
  {
    const std::lock_guard lock(mutex_);
    const auto hot = Touch(std::move(*boot_id), source, shape);
    hot->demand.Note(options_.pool_clock ? options_.pool_clock() : Clock::now());
    while (!taken && !hot->members.empty()) {
      WarmVm member = std::move(hot->members.front());
      hot->members.pop_front();
      const bool ended =
          member.vm->process().Wait(Deadline::After(std::chrono::seconds(0))).has_value();
      if (ended) {
        leaving_.push_back(std::move(member));
      } else {
        taken = std::move(member);
      }
    }
  }
  wake_.notify_all();
  return taken;
}

// Moves a template to the front of the hot ones. The last one may cool.
std::list<WarmPool::Hot>::iterator WarmPool::Touch(std::string boot_id,
                                                   const image::Template& source, Shape shape) {
  const auto found = std::ranges::find(hot_, boot_id, &Hot::boot_id);
  if (found != hot_.end()) {
    hot_.splice(hot_.begin(), hot_, found);
  } else {
    hot_.push_front(
        Hot{.boot_id = std::move(boot_id),
            .template_id = source.id,
            .shape = shape,
            .need = ResourcesOf(shape.memory_mib, shape.cpus, source.disk_bytes >> 20)});
  }
  while (hot_.size() > std::max<std::size_t>(options_.hot_templates, 1)) {
    Cool(std::prev(hot_.end()));
  }
  return hot_.begin();
}

void WarmPool::Cool(std::list<Hot>::iterator hot) {
  std::ranges::move(hot->members, std::back_inserter(leaving_));
  hot_.erase(hot);
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

Manager::PoolSize WarmPool::size() {
  const std::lock_guard lock(mutex_);
  Manager::PoolSize size;
  for (const Hot& hot : hot_) {
    size.ready += hot.members.size();
    size.target += hot.target;
  }
  return size;
}

bool WarmPool::Calm() const { return busy_ == 0 && Clock::now() >= last_busy_ + kCalm; }

PoolHeadroom WarmPool::Headroom() {
  const std::uint64_t available =
      options_.available_mib ? options_.available_mib() : AvailableMib();
  const std::uint64_t reserve = options_.pool_reserve_mib;
  const double idle = options_.idle_cores
                          ? options_.idle_cores()
                          : idle_cores_.Update(sys::ReadFile("/proc/uptime").value_or(""));
  return {.free = options_.capacity != nullptr ? options_.capacity->Free()
                                               : Resources{kUnlimited, kUnlimited, kUnlimited},
          .memory_mib = available - std::min(available, reserve),
          .memory_short = available < reserve,
          .cpu_idle = idle >= kIdleCores};
}

void WarmPool::SetTargets(const PoolHeadroom& headroom) {
  const auto now = options_.pool_clock ? options_.pool_clock() : Clock::now();
  std::vector<PoolTemplate> templates;
  for (const Hot& hot : hot_) {
    templates.push_back({.need = hot.need,
                         .peak = hot.demand.Peak(now),
                         .size = static_cast<std::uint32_t>(hot.members.size())});
  }
  const auto targets = PoolTargets({.ready = options_.warm_vms, .most = options_.most_warm_vms},
                                   templates, headroom);
  std::size_t next = 0;
  for (Hot& hot : hot_) hot.target = targets[next++];
}

// The configured templates have their boot snapshots taken as soon as the daemon runs, so that even
// the first sandbox is restored.
void WarmPool::AddConfigured() {
  for (const std::string& name : options_.warm_templates) {
    const auto source = options_.library.FindTemplate(name);
    if (!source || source->vm) continue;
    const Shape shape{.memory_mib = source->memory_mib, .cpus = source->cpus};
    const Resources need = ResourcesOf(shape.memory_mib, shape.cpus, source->disk_bytes >> 20);
    if (!FitsTwice(Headroom().free, need)) continue;
    const auto taken = boots_.Ensure(*source, shape);
    if (!taken) {
      base::LogWarning("sandboxes of a template boot: it has no boot snapshot",
                       {{"template", name}, {"error", taken.error().ToString()}});
      continue;
    }
    const std::lock_guard lock(mutex_);
    if (options_.warm_vms == 0 || stopping_) return;
    Touch(*boots_.IdOf(*source, shape), *source, shape);
  }
}

void WarmPool::Run() {
  AddConfigured();
  std::unique_lock lock(mutex_);
  while (!stopping_ && options_.warm_vms > 0) {
    lock.unlock();
    const PoolHeadroom headroom = Headroom();
    lock.lock();
    SetTargets(headroom);
    if (const auto member = NextToEnd(headroom.memory_short)) {
      EndMember(*member, lock);
      if (!headroom.memory_short) continue;
      base::LogInfo("short of memory: a VM of the pool is given back");
    } else if (const auto order = NextToFill(headroom.cpu_idle)) {
      ++in_flight_;
      lock.unlock();
      auto made = Make(*order);
      lock.lock();
      Add(order->boot_id, std::move(made));
      Landed();
      continue;
    }
    // Memory needs a moment until what ended is available: one VM at each look.
    if (!stopping_) wake_.wait_for(lock, Calm() ? std::chrono::milliseconds(kLook) : kCalm);
  }
}

std::optional<WarmVm> WarmPool::NextToEnd(bool memory_short) {
  const auto take = [](std::deque<WarmVm>& from) {
    std::optional<WarmVm> member = std::move(from.back());
    from.pop_back();
    return member;
  };
  if (!leaving_.empty()) return take(leaving_);
  if (!memory_short && !Calm()) return std::nullopt;
  for (auto hot = hot_.rbegin(); hot != hot_.rend(); ++hot) {
    if (hot->members.size() > hot->target) return take(hot->members);
  }
  return std::nullopt;
}

// The minimums first, in the order of use; then the template that lacks most.
std::optional<WarmPool::Order> WarmPool::NextToFill(bool cpu_idle) const {
  const int cores = static_cast<int>(std::max(std::thread::hardware_concurrency(), 1U));
  if (!Calm() && !(cpu_idle && busy_ < cores)) return std::nullopt;
  const auto now = Clock::now();
  if (now < yield_until_) return std::nullopt;
  const Hot* next = nullptr;
  std::size_t most = 0;
  for (const Hot& hot : hot_) {
    if (hot.members.size() >= hot.target || now < hot.not_before) continue;
    const std::size_t lack = hot.target - hot.members.size();
    if (lack > most) {
      next = &hot;
      most = lack;
    }
    if (hot.members.size() < options_.warm_vms) {
      next = &hot;
      break;
    }
  }
  if (next == nullptr) return std::nullopt;
  return Order{.boot_id = next->boot_id, .template_id = next->template_id, .shape = next->shape};
}

Result<> WarmPool::Reserve(const std::string& id, const image::Template& source, Shape shape) {
  if (options_.capacity == nullptr) return {};
  return options_.capacity->Reserve(
      id, ResourcesOf(shape.memory_mib, shape.cpus, source.disk_bytes >> 20), {});
}

Result<WarmVm> WarmPool::Make(const Order& order) {
  const auto deadline = Deadline::After(options_.boot_deadline);
  StageClock clock;
  WarmVm member;
  member.id = base::NewSandboxId();
  const auto make = [&]() -> Result<> {
    const image::Template source = TRY(options_.library.FindTemplate(order.template_id));
    TRY(Reserve(member.id, source, order.shape));
    member.source = TRY(boots_.Ensure(source, order.shape));
    const StartedVm started = TRY(StartVm(options_,
                                          {.id = member.id,
                                           .source = member.source,
                                           .restore = true,
                                           .memory_mib = order.shape.memory_mib,
                                           .cpus = order.shape.cpus,
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
    TRY(member.vm->Pause(deadline));
    if (const auto used = sys::ProcessCpuTime(member.vm->process().vmm_pid())) {
      idle_cores_.AddOwn(*used);
    }
    return {};
  };
  if (auto made = make(); !made) {
    Discard(member);
    return std::unexpected(std::move(made).error());
  }
  return member;
}

void WarmPool::Add(const std::string& boot_id, Result<WarmVm> made) {
  const auto hot = std::ranges::find(hot_, boot_id, &Hot::boot_id);
  if (!made) {
    base::LogWarning("the pool could not make a VM", {{"error", made.error().ToString()}});
    if (hot != hot_.end()) hot->not_before = Clock::now() + kAfterFailure;
    return;
  }
  // If the template was built anew meanwhile, the VM is of another boot snapshot.
  const bool wanted = hot != hot_.end() && made->source.id == boot_id;
  if (wanted) return hot->members.push_back(std::move(*made));
  if (hot != hot_.end()) Cool(hot);
  leaving_.push_back(std::move(*made));
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

void WarmPool::EndMember(const WarmVm& member, std::unique_lock<std::mutex>& lock) {
  ++in_flight_;
  lock.unlock();
  Discard(member);
  lock.lock();
  Landed();
}

void WarmPool::Landed() {
  --in_flight_;
  ++landed_;
  landed_changed_.notify_all();
}

bool WarmPool::DropOne() {
  std::unique_lock lock(mutex_);
  yield_until_ = Clock::now() + kYield;
  std::optional<WarmVm> member;
  if (!leaving_.empty()) {
    member = std::move(leaving_.back());
    leaving_.pop_back();
  }
  for (auto hot = hot_.rbegin(); hot != hot_.rend() && !member; ++hot) {
    if (hot->members.empty()) continue;
    member = std::move(hot->members.back());
    hot->members.pop_back();
  }
  if (!member && in_flight_ == 0) return false;
  if (member) {
    EndMember(*member, lock);
  } else {
    landed_changed_.wait(lock, [this, before = landed_] { return landed_ != before; });
  }
  yield_until_ = Clock::now() + kYield;
  return true;
}

}  // namespace tinderbox::sandbox
