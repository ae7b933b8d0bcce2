// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <iterator>
#include <utility>

#include "base/id.h"
#include "image/internal/checksum.h"

namespace tinderbox::image {

using base::Code;
using base::Fail;
using base::Result;
namespace json = boost::json;

namespace {

constexpr std::size_t kMaxText = 4096;
constexpr std::size_t kMaxEntries = 1024;

// Takes the fields of an object one by one. The first that is wrong is remembered; the values of
// all after it do not matter.
class Fields {
 public:
  explicit Fields(const json::object& object) : object_(object) {}

  std::string Text(std::string_view name, std::size_t max = kMaxText) {
    const auto* value = Find(name);
    if (value == nullptr) return {};
    const auto* text = value->if_string();
    if (text == nullptr || text->size() > max) return Bad(name), std::string();
    return std::string(*text);
  }
  std::uint64_t Number(std::string_view name, std::uint64_t min, std::uint64_t max) {
    const auto* value = Find(name);
    if (value == nullptr) return 0;
    std::uint64_t number = 0;
    if (const auto* small = value->if_int64(); small != nullptr && *small >= 0) {
      number = static_cast<std::uint64_t>(*small);
    } else if (const auto* large = value->if_uint64()) {
      number = *large;
    } else {
      return Bad(name), 0;
    }
    if (number < min || number > max) return Bad(name), 0;
    return number;
  }
  bool Flag(std::string_view name) {
    const auto* value = Find(name);
    const auto* flag = value != nullptr ? value->if_bool() : nullptr;
    if (value != nullptr && flag == nullptr) Bad(name);
    return flag != nullptr && *flag;
  }
  std::vector<std::string> Texts(std::string_view name) {
    std::vector<std::string> texts;
    for (const auto& item : Array(name)) {
      if (!item.is_string() || item.get_string().size() > kMaxText) return Bad(name), texts;
      texts.emplace_back(item.get_string());
    }
    return texts;
  }
  std::vector<std::pair<std::string, std::string>> Pairs(std::string_view name) {
    std::vector<std::pair<std::string, std::string>> pairs;
    for (const auto& item : Array(name)) {
      const auto* pair = item.if_array();
      if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_string() ||
          !(*pair)[1].is_string()) {
        return Bad(name), pairs;
      }
      pairs.emplace_back((*pair)[0].get_string(), (*pair)[1].get_string());
    }
    return pairs;
  }
  void Require(bool condition, std::string_view name) {
    if (!condition) Bad(name);
  }
  Result<> Check() const {
    if (bad_.empty()) return {};
    return Fail(Code::kDataLoss, fmt::format("read manifest: bad or missing field '{}'", bad_));
  }

 private:
  const json::value* Find(std::string_view name) {
    const auto* value = object_.if_contains(name);
    if (value == nullptr) Bad(name);
    return value;
  }
  const json::array& Array(std::string_view name) {
    static const json::array kEmpty;
    const auto* value = Find(name);
    const auto* array = value != nullptr ? value->if_array() : nullptr;
    if (array == nullptr || array->size() > kMaxEntries) return Bad(name), kEmpty;
    return *array;
  }
  void Bad(std::string_view name) {
    if (bad_.empty()) bad_ = name;
  }

  const json::object& object_;
  std::string bad_;
};

Result<json::object> ParseObject(std::string_view text) {
  boost::system::error_code error;
  auto value = json::parse(text, error);
  if (error || !value.is_object()) {
    return Fail(Code::kDataLoss, "read manifest: no JSON object, or cut off");
  }
  return std::move(value.get_object());
}

Result<> CheckFormat(Fields& fields, int wanted) {
  const auto format = fields.Number("formatVersion", 1, 1'000'000);
  TRY(fields.Check());
  if (format == static_cast<std::uint64_t>(wanted)) return {};
  return std::unexpected(
      base::Error(Code::kFailedPrecondition,
                  fmt::format("read manifest: format {} is not known to this version", format))
          .WithRemedy("It was written by another version of Tinderbox: use that one, or prepare it "
                      "anew."));
}

bool IsHex(std::string_view text, std::size_t size) {
  return text.size() == size &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// A file's name, not a path.
bool IsFileName(std::string_view name) {
  return !name.empty() && name.size() < 128 && name[0] != '.' &&
         std::ranges::none_of(name, [](char c) { return c == '/' || c < ' ' || c == 0x7f; });
}

bool IsHexOrEmpty(std::string_view text) { return text.empty() || IsHex(text, 64); }

constexpr std::array<std::pair<SavedKind, std::string_view>, 5> kKinds = {{
    {SavedKind::kTemplate, "template"},
    {SavedKind::kSnapshot, "snapshot"},
    {SavedKind::kBoot, "boot"},
    {SavedKind::kPaused, "paused"},
    {SavedKind::kFork, "fork"},
}};

constexpr std::string_view kOwnSum = "manifestSum";

// Boost.JSON writes an object in the order in which it was read, so what it writes is what was
// summed.
Result<> CheckOwnSum(json::object object) {
  const auto* found = object.if_contains(kOwnSum);
  const auto* sum = found != nullptr ? found->if_string() : nullptr;
  const std::string expected = sum != nullptr ? std::string(*sum) : std::string();
  // Not erase(), which puts the last field into the gap; it is the last one anyway.
  if (object.empty() || std::prev(object.end())->key() != kOwnSum) {
    return Fail(Code::kDataLoss, fmt::format("read manifest: bad or missing field '{}'", kOwnSum));
  }
  object.erase(std::prev(object.end()));
  if (Sha256Hex(json::serialize(object)) == expected) return {};
  return Fail(Code::kDataLoss, "read manifest: its checksum is another");
}

std::string Print(const json::object& object) { return json::serialize(object) + "\n"; }

}  // namespace

bool IsValidTemplateName(std::string_view name) {
  constexpr std::string_view kFirst = "abcdefghijklmnopqrstuvwxyz0123456789";
  return !name.empty() && name.size() <= 64 && kFirst.contains(name[0]) &&
         std::ranges::all_of(name,
                             [&](char c) { return kFirst.contains(c) || c == '-' || c == '_'; });
}

bool IsValidSnapshotName(std::string_view name) {
  const auto colon = name.find(':');
  if (colon == std::string_view::npos) return IsValidTemplateName(name);
  const std::string_view tag = name.substr(colon + 1);
  return IsValidTemplateName(name.substr(0, colon)) && !tag.empty() && tag.size() <= 64 &&
         std::ranges::all_of(tag, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
                  c == '.';
         });
}

std::string_view KindName(SavedKind kind) {
  return std::ranges::find(kKinds, kind, &std::pair<SavedKind, std::string_view>::first)->second;
}

std::string ToJson(const KernelManifest& manifest) {
  return Print({{"formatVersion", kKernelFormat},
                {"kind", "kernel"},
                {"version", manifest.version},
                {"package", manifest.package},
                {"vmlinuxBytes", manifest.vmlinux_bytes},
                {"vmlinuxSha256", manifest.vmlinux_sha256},
                {"modules", json::array(manifest.modules.begin(), manifest.modules.end())},
                {"agentSha256", manifest.agent_sha256},
                {"initramfsVersion", manifest.initramfs_version},
                {"initrdBytes", manifest.initrd_bytes}});
}

std::string ToJson(const TemplateManifest& manifest) {
  const auto& info = manifest.info;
  json::array env;
  for (const auto& [name, value] : info.env) env.push_back(json::array{name, value});
  json::object object = {{"formatVersion", kTemplateFormat},
                         {"kind", KindName(info.kind)},
                         {"id", info.id},
                         {"name", info.name},
                         {"diskBytes", info.disk_bytes},
                         {"diskSum", manifest.disk_sum},
                         {"recipe", manifest.recipe},
                         {"memoryMib", info.memory_mib},
                         {"cpus", info.cpus},
                         {"defaultUser", info.default_user},
                         {"defaultWorkdir", info.default_workdir},
                         {"createdAt", info.created_at},
                         {"sourceSandbox", info.source_sandbox},
                         {"parent", info.parent},
                         {"env", std::move(env)}};
  if (info.vm) {
    object["memory"] = {{"sum", manifest.memory_sum},
                        {"stateSum", manifest.state_sum},
                        {"vmm", info.vm->vmm},
                        {"vmmVersion", info.vm->vmm_version},
                        {"accelerator", info.vm->accelerator},
                        {"stateFormat", info.vm->state_format},
                        {"cpu", info.vm->cpu},
                        {"cpuFeatures", info.vm->cpu_features},
                        {"tscKhz", info.vm->tsc_khz},
                        {"kernel", info.vm->kernel},
                        {"agentToken", info.agent_token},
                        {"agentSilent", info.agent_silent}};
  }
  object[kOwnSum] = Sha256Hex(json::serialize(object));
  return Print(object);
}

Result<KernelManifest> ParseKernelManifest(std::string_view text) {
  const auto object = TRY(ParseObject(text));
  Fields fields(object);
  TRY(CheckFormat(fields, kKernelFormat));
  KernelManifest manifest;
  fields.Require(fields.Text("kind") == "kernel", "kind");
  manifest.version = fields.Text("version", 128);
  fields.Require(IsFileName(manifest.version), "version");
  manifest.package = fields.Text("package", 256);
  manifest.vmlinux_bytes = fields.Number("vmlinuxBytes", 1, 1ull << 32);
  manifest.vmlinux_sha256 = fields.Text("vmlinuxSha256");
  fields.Require(IsHex(manifest.vmlinux_sha256, 64), "vmlinuxSha256");
  manifest.modules = fields.Texts("modules");
  fields.Require(std::ranges::all_of(manifest.modules, IsFileName), "modules");
  manifest.agent_sha256 = fields.Text("agentSha256");
  manifest.initramfs_version = static_cast<int>(fields.Number("initramfsVersion", 0, 1'000'000));
  manifest.initrd_bytes = fields.Number("initrdBytes", 1, 1ull << 32);
  TRY(fields.Check());
  return manifest;
}

namespace {

Result<> ParseMemory(const json::object& object, TemplateManifest& manifest) {
  const auto* value = object.if_contains("memory");
  if (value == nullptr) return {};
  if (!value->is_object()) return Fail(Code::kDataLoss, "read manifest: bad field 'memory'");
  Fields fields(value->get_object());
  auto& vm = manifest.info.vm.emplace();
  manifest.memory_sum = fields.Text("sum");
  fields.Require(IsHexOrEmpty(manifest.memory_sum), "sum");
  manifest.state_sum = fields.Text("stateSum");
  fields.Require(IsHex(manifest.state_sum, 64), "stateSum");
  vm.vmm = fields.Text("vmm", 64);
  vm.vmm_version = fields.Text("vmmVersion", 64);
  vm.accelerator = fields.Text("accelerator", 64);
  vm.cpu = fields.Text("cpu");
  // Manifests of version 0.1 and earlier lack these two.
  if (value->get_object().contains("stateFormat")) vm.state_format = fields.Text("stateFormat", 64);
  if (value->get_object().contains("cpuFeatures"))
    vm.cpu_features = fields.Text("cpuFeatures", 8192);
  vm.tsc_khz = fields.Number("tscKhz", 0, 1ull << 40);
  vm.kernel = fields.Text("kernel", 128);
  manifest.info.agent_token = fields.Text("agentToken", 256);
  manifest.info.agent_silent = fields.Flag("agentSilent");
  return fields.Check();
}

}  // namespace

Result<TemplateManifest> ParseTemplateManifest(std::string_view text) {
  auto object = TRY(ParseObject(text));
  Fields fields(object);
  TRY(CheckFormat(fields, kTemplateFormat));
  TemplateManifest manifest;
  auto& info = manifest.info;
  const std::string kind_name = fields.Text("kind");
  const auto* kind =
      std::ranges::find(kKinds, kind_name, &std::pair<SavedKind, std::string_view>::second);
  fields.Require(kind != kKinds.end(), "kind");
  if (kind != kKinds.end()) info.kind = kind->first;
  info.id = fields.Text("id", 64);
  fields.Require(base::IsValidVmId(info.id), "id");
  info.name = fields.Text("name", 129);
  fields.Require(info.kind == SavedKind::kTemplate
                     ? IsValidTemplateName(info.name)
                     : info.name.empty() || IsValidSnapshotName(info.name),
                 "name");
  info.disk_bytes = fields.Number("diskBytes", 1 << 20, 1ull << 50);
  manifest.disk_sum = fields.Text("diskSum");
  fields.Require(IsHexOrEmpty(manifest.disk_sum), "diskSum");
  manifest.recipe = fields.Text("recipe");
  info.memory_mib = static_cast<std::uint32_t>(fields.Number("memoryMib", 16, 1 << 24));
  info.cpus = static_cast<std::uint32_t>(fields.Number("cpus", 1, 1024));
  info.default_user = fields.Text("defaultUser", 64);
  info.default_workdir = fields.Text("defaultWorkdir");
  info.created_at = fields.Text("createdAt", 64);
  info.source_sandbox = fields.Text("sourceSandbox", 64);
  info.parent = fields.Text("parent", 64);
  info.env = fields.Pairs("env");
  TRY(fields.Check());
  TRY(ParseMemory(object, manifest));
  TRY(CheckOwnSum(std::move(object)));
  return manifest;
}

}  // namespace tinderbox::image
