// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/program_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <utility>

#include "sys/file.h"

namespace tinderbox::vmm {

using base::Code;
using base::Result;

namespace {

constexpr std::size_t kMaxCache = 16 << 20;
constexpr std::size_t kMaxFiles = 500;
constexpr std::string_view kCacheMagic = "glibc-ld.so.cache1.1";

// See glibc's sysdeps/generic/dl-cache.h. It follows the magic number, from which offsets count.
struct CacheHeader {
  char magic[20];
  std::uint32_t libraries;
  std::uint32_t strings_size;
  std::uint8_t flags;
  std::uint8_t padding[3];
  std::uint32_t extensions;
  std::uint32_t unused[3];
};
struct CacheEntry {
  std::int32_t flags;
  std::uint32_t name;  // offset
  std::uint32_t path;  // likewise
  std::uint32_t os_version;
  std::uint64_t capabilities;
};
static_assert(sizeof(CacheHeader) == 48 && sizeof(CacheEntry) == 24);

std::string FolderOf(const std::string& path) { return path.substr(0, path.rfind('/')); }

// Without "." and "..", which a jail's bind targets must not have.
std::string Normal(const std::string& path) {
  return std::filesystem::path(path).lexically_normal().string();
}

// The set of files, as it grows.
class Collector {
 public:
  Collector(const LibraryPlaces& places, std::string cache)
      : places_(places), cache_(std::move(cache)) {}

  Result<> AddProgram(const std::string& path) {
    const ElfNeeds needs = TRY(ReadElfNeeds(path));
    machine_ = needs.machine;
    files_.push_back(path);
    if (needs.loader.empty() && needs.libraries.empty()) return {};
    if (!cache_.empty()) files_.push_back(places_.cache);
    if (!needs.loader.empty()) files_.push_back(Normal(needs.loader));
    folders_ = Expand(needs.folders, path);
    return AddLibraries(needs, path);
  }
  Result<> AddModule(const std::string& path) {
    files_.push_back(path);
    return AddLibraries(TRY(ReadElfNeeds(path)), path);
  }
  Result<> AddOptional(const std::string& library) {
    for (const auto& [path, needs] : Find(library, {})) TRY(AddFound(path, needs));
    return {};
  }
  // Each path once, in order.
  std::vector<std::string> Take() {
    std::set<std::string> seen;
    std::erase_if(files_, [&seen](const std::string& path) { return !seen.insert(path).second; });
    return std::move(files_);
  }

 private:
  using Found = std::vector<std::pair<std::string, ElfNeeds>>;

  static std::vector<std::string> Expand(std::vector<std::string> folders, const std::string& of) {
    for (std::string& folder : folders) {
      for (const std::string_view name : {"$ORIGIN", "${ORIGIN}"}) {
        if (const auto at = folder.find(name); at != std::string::npos)
          folder.replace(at, name.size(), FolderOf(of));
      }
    }
    return folders;
  }
  Result<> AddLibraries(const ElfNeeds& needs, const std::string& by) {
    for (const std::string& library : needs.libraries) {
      // The program's own folders are looked in for its libraries' libraries, too: some linkers'
      // DT_RPATH means that, and a file too many does no harm.
      auto folders = Expand(needs.folders, by);
      folders.insert(folders.end(), folders_.begin(), folders_.end());
      const Found found = Find(library, folders);
      if (found.empty())
        return std::unexpected(
            base::Error(Code::kFailedPrecondition,
                        fmt::format("library '{}' is missing: '{}' needs it", library, by))
                .WithRemedy("Install the package that it belongs to."));
      for (const auto& [path, of_library] : found) TRY(AddFound(path, of_library));
    }
    return {};
  }
  Result<> AddFound(const std::string& path, const ElfNeeds& needs) {
    if (!known_.insert(path).second) return {};
    if (known_.size() > kMaxFiles)
      return base::Fail(Code::kFailedPrecondition,
                        fmt::format("it needs more than {} libraries", kMaxFiles));
    files_.push_back(path);
    return AddLibraries(needs, path);
  }
  // In the order of the dynamic linker. The cache may have variants for several kinds of this CPU:
  // all of them, since the linker chooses.
  Found Find(const std::string& library, const std::vector<std::string>& folders) {
    Found found;
    if (library.find('/') != std::string::npos) {
      Try(library, found);
      return found;
    }
    for (const std::string& folder : folders) {
      if (found.empty()) Try(folder + "/" + library, found);
    }
    if (!found.empty()) return found;
    for (const std::string& path : FindInLinkerCache(cache_, library)) Try(path, found);
    for (const std::string& folder : places_.folders) {
      if (found.empty()) Try(folder + "/" + library, found);
    }
    return found;
  }
  // The linker, too, passes over what is of another machine.
  void Try(const std::string& path, Found& found) {
    if (!path.starts_with('/')) return;
    auto known = read_.find(path);
    if (known == read_.end()) known = read_.emplace(path, ReadElfNeeds(path)).first;
    const auto& needs = known->second;
    if (needs && needs->machine == machine_) found.emplace_back(Normal(path), *needs);
  }

  const LibraryPlaces& places_;
  const std::string cache_;
  unsigned machine_ = 0;
  std::vector<std::string> folders_;  // the program's
  std::set<std::string> known_;       // libraries
  std::map<std::string, Result<ElfNeeds>> read_;
  std::vector<std::string> files_;
};

}  // namespace

LibraryPlaces SystemLibraryPlaces() {
  LibraryPlaces places;
#if defined(__x86_64__)
  places.folders = {"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu"};
#elif defined(__aarch64__)
  places.folders = {"/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu"};
#endif
  for (const char* folder : {"/lib64", "/usr/lib64", "/lib", "/usr/lib"})
    places.folders.emplace_back(folder);
  return places;
}

std::vector<std::string> FindInLinkerCache(std::string_view cache, std::string_view library) {
  // An older format may stand before this one.
  const auto at = cache.find(kCacheMagic);
  if (at == std::string_view::npos) return {};
  cache.remove_prefix(at);
  CacheHeader header{};
  if (cache.size() < sizeof header) return {};
  std::memcpy(&header, cache.data(), sizeof header);
  if (header.libraries > (cache.size() - sizeof header) / sizeof(CacheEntry)) return {};
  const auto text = [cache](std::uint32_t offset) {
    if (offset >= cache.size()) return std::string_view();
    const std::string_view rest = cache.substr(offset);
    const auto end = rest.find('\0');
    return end == std::string_view::npos ? std::string_view() : rest.substr(0, end);
  };
  std::vector<std::string> paths;
  for (std::uint32_t i = 0; i < header.libraries; ++i) {
    CacheEntry entry{};
    std::memcpy(&entry, cache.data() + sizeof header + i * sizeof entry, sizeof entry);
    if (text(entry.name) == library) paths.emplace_back(text(entry.path));
  }
  return paths;
}

Result<std::vector<std::string>> ProgramFiles(const ProgramFilesRequest& request,
                                              const LibraryPlaces& places) {
  // Without it the linker looks in its folders, and so do we.
  Collector files(places, sys::ReadFile(places.cache, kMaxCache).value_or(""));
  TRY(files.AddProgram(request.program));
  for (const std::string& module : request.modules) TRY(files.AddModule(module));
  for (const std::string& library : request.optional) TRY(files.AddOptional(library));
  return files.Take();
}

}  // namespace tinderbox::vmm
