// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "volume/volumes.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <set>
#include <utility>

#include "base/id.h"
#include "base/log.h"
#include "sys/directory.h"
#include "sys/file.h"

namespace tinderbox::volume {

using base::Code;
using base::Error;
using base::Fail;
using base::FailErrno;
using base::Result;

namespace {

constexpr std::uint64_t kRoomOfVolume = 1 << 20;
// E2B's default user in the guest, who owns a new volume's root; everybody may write there.
constexpr uid_t kOwner = 1000;
constexpr mode_t kRootMode = 0777;

std::int64_t NowMs() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
}

Result<sys::UniqueFd> MakeDirectory(const std::string& path) {
  TRY(sys::MakeDirs(path, 0700));
  auto fd = TRY(sys::Open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  // Whatever is inside (a program with its set-user-id bit, say) is within nobody's reach but
  // root's.
  if (::fchmod(fd.get(), 0700) != 0) return FailErrno(errno, fmt::format("set mode of '{}'", path));
  return fd;
}

std::unexpected<Error> NoSuchVolume(std::string_view id) {
  return Fail(Code::kNotFound, fmt::format("volume '{}' not found", id));
}

}  // namespace

Result<std::unique_ptr<Volumes>> Volumes::Open(VolumesOptions options) {
  auto root = TRY(MakeDirectory(options.directory));
  auto incoming = TRY(MakeDirectory(options.directory + "/.incoming"));
  auto trash = TRY(MakeDirectory(options.directory + "/.trash"));
  const std::string metadata = options.directory + "/.meta";
  TRY(MakeDirectory(metadata));
  TRY(sys::RemoveTemporaries(metadata));
  std::unique_ptr<Volumes> volumes(
      new Volumes(std::move(options), std::move(root), std::move(incoming), std::move(trash)));
  TRY(volumes->Sweep());
  return volumes;
}

Result<> Volumes::Sweep() {
  std::set<std::string> known;
  for (const Volume& volume : TRY(List())) {
    known.insert(volume.id);
    // Its removal was begun and not recorded: it stays.
    TRY(metadata_.UnmarkRemoved(volume.id));
    if (const auto beside = metadata_.Read(volume.id); !beside || *beside != volume) {
      TRY(metadata_.Write(volume));
    }
    if (!sys::Exists(DirectoryOf(volume.id))) {
      // Removed since the backup was made.
      if (options_.adopt) {
        TRY(options_.store.DeleteVolume(volume.id));
        TRY(metadata_.Remove(volume.id));
        continue;
      }
      base::LogError("a volume's directory is gone",
                     {{"volume", volume.id}, {"name", volume.name}});
    }
  }
  for (const std::string& name : TRY(sys::NamesIn(options_.directory))) {
    if (!name.starts_with('.') && !known.contains(name)) TRY(SweepDirectory(name));
  }
  for (const std::string& name : TRY(sys::NamesIn(options_.directory + "/.incoming"))) {
    TRY(trash_.Take(incoming_, name));
  }
  return {};
}

// A directory without a record.
Result<> Volumes::SweepDirectory(const std::string& name) {
  if (metadata_.IsMarkedRemoved(name)) {
    base::LogInfo("recovery", {{"found", fmt::format("volume '{}' was being removed", name)}});
    TRY(trash_.Take(root_, name));
    TRY(metadata_.Remove(name));
    return metadata_.UnmarkRemoved(name);
  }
  const auto beside = metadata_.Read(name);
  // Killed between directory and record of a new volume: nothing can be in it.
  if (!beside && beside.error().code() == Code::kNotFound &&
      ::unlinkat(root_.get(), name.c_str(), AT_REMOVEDIR) == 0) {
    return {};
  }
  if (options_.adopt && beside && options_.store.InsertVolume(*beside)) {
    base::LogInfo("recovery", {{"found", fmt::format("volume '{}': taken up", beside->name)}});
    return {};
  }
  return options_.keep_lost({.id = name,
                             .name = beside ? beside->name : "",
                             .why = "the database has no record of this volume"},
                            DirectoryOf(name));
}

std::string Volumes::DirectoryOf(std::string_view id) const {
  return fmt::format("{}/{}", options_.directory, id);
}

Result<Volume> Volumes::Create(const std::string& name) {
  if (!IsValidVolumeName(name)) {
    return std::unexpected(Error(Code::kInvalidArgument, "the volume's name is not valid")
                               .WithRemedy("Give a name of 1 to 128 characters of [A-Za-z0-9_-]."));
  }
  if (FindByName(name)) {
    return Fail(Code::kAlreadyExists, fmt::format("a volume named '{}' exists already", name));
  }
  TRY(EnsureRoom(kRoomOfVolume));
  // 20 characters, as a template's id has.
  Volume volume{.id = base::NewSandboxId().substr(1),
                .name = name,
                .token = base::RandomHex(32),
                .created_at = NowMs()};
  const auto make = [&]() -> Result<> {
    if (::mkdirat(root_.get(), volume.id.c_str(), 0700) != 0) {
      return FailErrno(errno, fmt::format("make the directory of volume '{}'", name));
    }
    const auto made = TRY(sys::OpenAt(root_, volume.id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    if (::fchown(made.get(), kOwner, kOwner) != 0 || ::fchmod(made.get(), kRootMode) != 0 ||
        ::fsync(made.get()) != 0 || ::fsync(root_.get()) != 0) {
      return FailErrno(errno, fmt::format("set up the directory of volume '{}'", name));
    }
    TRY(options_.store.InsertVolume(volume));
    if (auto written = metadata_.Write(volume); !written) {
      static_cast<void>(options_.store.DeleteVolume(volume.id));
      return written;
    }
    return {};
  };
  if (auto made = make(); !made) {
    ::unlinkat(root_.get(), volume.id.c_str(), AT_REMOVEDIR);
    return std::unexpected(std::move(made).error());
  }
  return volume;
}

Result<Volume> Volumes::Get(std::string_view id) {
  for (Volume& volume : TRY(List())) {
    if (volume.id == id) return std::move(volume);
  }
  return NoSuchVolume(id);
}

Result<Volume> Volumes::FindByName(std::string_view name) {
  for (Volume& volume : TRY(List())) {
    if (volume.name == name) return std::move(volume);
  }
  return NoSuchVolume(name);
}

Result<> Volumes::Remove(std::string_view id) {
  const Volume volume = TRY(Get(id));
  TRY(metadata_.MarkRemoved(volume.id));
  if (auto deleted = options_.store.DeleteVolume(volume.id); !deleted) {
    static_cast<void>(metadata_.UnmarkRemoved(volume.id));
    return deleted;
  }
  {
    const std::lock_guard lock(mutex_);
    usages_.erase(volume.id);
  }
  const auto taken = trash_.Take(root_, volume.id);
  // It is gone for everybody; if its content cannot go now, the next start removes it.
  if (!taken) {
    base::LogWarning("a removed volume's content stays behind",
                     {{"volume", volume.id}, {"error", taken.error().ToString()}});
    return {};
  }
  static_cast<void>(metadata_.Remove(volume.id));
  static_cast<void>(metadata_.UnmarkRemoved(volume.id));
  return {};
}

Result<Volume> Volumes::Adopt(const std::string& id, const std::string& name,
                              const std::function<Result<>(const std::string& to)>& fetch) {
  auto beside = metadata_.Read(id);
  if (!beside) {
    return std::unexpected(
        std::move(beside).error().WithContext(fmt::format("adopt volume '{}'", id)));
  }
  Volume volume = std::move(*beside);
  if (!name.empty()) volume.name = name;
  if (!IsValidVolumeName(volume.name)) {
    return Fail(Code::kInvalidArgument, "the volume's name is not valid");
  }
  if (FindByName(volume.name) || Get(id)) {
    return std::unexpected(
        Error(Code::kAlreadyExists, fmt::format("a volume named '{}' exists already", volume.name))
            .WithRemedy("Give another name with --name."));
  }
  TRY(metadata_.Write(volume));
  TRY(fetch(DirectoryOf(id)));
  TRY(options_.store.InsertVolume(volume));
  return volume;
}

Result<> Volumes::ForgetLost(const std::string& id) {
  if (Get(id)) return {};
  return metadata_.Remove(id);
}

Result<> Volumes::Discard(const std::string& path) {
  const auto slash = path.rfind('/');
  const auto parent = TRY(sys::Open(path.substr(0, slash), O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  return trash_.Take(parent, path.substr(slash + 1));
}

Result<Tree> Volumes::OpenTree(std::string_view id) {
  const Volume volume = TRY(Get(id));
  auto root = TRY_CTX(sys::OpenAt(root_, volume.id, O_PATH | O_DIRECTORY | O_NOFOLLOW),
                      fmt::format("open volume '{}'", volume.name));
  return Tree(std::move(root), trash_, incoming_, TRY(UsageOf(volume.id)));
}

Result<std::shared_ptr<Usage>> Volumes::UsageOf(std::string_view id) {
  const std::lock_guard lock(mutex_);
  if (const auto known = usages_.find(id); known != usages_.end()) return known->second;
  auto usage = TRY(Usage::Create(options_.limit_bytes));
  usages_.emplace(id, usage);
  CountInBackground(std::string(id));
  return usage;
}

void Volumes::OnSpace(std::uint64_t free_bytes) {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, usage] : usages_) {
    usage->SetClosed(free_bytes < options_.reserve_bytes);
    if (usage->TakeRefused() && usage->stale()) CountInBackground(id);
  }
}

// The caller holds mutex_.
void Volumes::CountInBackground(const std::string& id) {
  to_count_.insert(id);
  if (!counter_.joinable()) {
    counter_ = std::jthread([this](const std::stop_token& stop) { Count(stop); });
  }
  counting_.notify_all();
}

void Volumes::Count(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (counting_.wait(lock, stop, [this] { return !to_count_.empty(); })) {
    const std::string id = to_count_.extract(to_count_.begin()).value();
    const auto known = usages_.find(id);
    if (known == usages_.end()) continue;
    const auto usage = known->second;
    lock.unlock();
    auto counted = [&]() -> Result<> {
      return usage->Recount(TRY(sys::OpenAt(root_, id, O_PATH | O_DIRECTORY | O_NOFOLLOW)));
    }();
    if (!counted) {
      base::LogWarning("a volume cannot be counted: it takes nothing more in",
                       {{"volume", id}, {"error", counted.error().ToString()}});
    }
    lock.lock();
    if (stop.stop_requested()) return;
  }
}

}  // namespace tinderbox::volume
