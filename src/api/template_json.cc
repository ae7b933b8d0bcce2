// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/template_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdint>
#include <utility>
#include <vector>

#include "api/sandbox_json.h"
#include "api/template_name.h"
#include "api/text.h"
#include "schema/envd_version.h"

namespace tinderbox::api {
namespace {

using sandbox::TemplateInfo;

boost::json::array Strings(const std::vector<std::string>& words) {
  return boost::json::array(words.begin(), words.end());
}

// Names without their tags, each once: what E2B calls aliases.
boost::json::array Aliases(const TemplateInfo& info) {
  boost::json::array aliases;
  for (const std::string& name : info.names) {
    const boost::json::value alias(SplitTemplateName(name).name);
    if (std::ranges::find(aliases, alias) == aliases.end()) aliases.push_back(alias);
  }
  return aliases;
}

// FNV-1a: the ids are random already, all that is asked for is another form of them.
std::uint64_t Hash(std::string_view text, std::uint64_t hash) {
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

std::string_view BuildStatus(const TemplateInfo& info) { return info.ready ? "ready" : "building"; }

}  // namespace

std::string BuildIdOf(std::string_view template_id) {
  const std::uint64_t high = Hash(template_id, 0xcbf29ce484222325);
  const std::uint64_t low = Hash(template_id, high);
  return fmt::format("{:08x}-{:04x}-8{:03x}-{:04x}-{:012x}", high >> 32, (high >> 16) & 0xffff,
                     high & 0xfff, 0x8000 | ((low >> 48) & 0x3fff), low & 0xffffffffffff);
}

boost::json::object TemplateJson(const TemplateInfo& info) {
  boost::json::array names;
  for (const std::string& name : info.names) {
    names.emplace_back(fmt::format("{}/{}", kNamespace, name));
  }
  return {{"templateID", info.id},
          {"buildID", BuildIdOf(info.id)},
          {"cpuCount", info.cpus},
          {"memoryMB", info.memory_mib},
          {"diskSizeMB", info.disk_mib},
          {"public", true},
          {"aliases", Aliases(info)},
          {"names", std::move(names)},
          {"createdAt", info.created_at},
          {"updatedAt", info.created_at},
          {"createdBy", nullptr},
          {"lastSpawnedAt", info.last_spawned_at_ms == 0
                                ? boost::json::value(nullptr)
                                : boost::json::value(Rfc3339(info.last_spawned_at_ms))},
          {"spawnCount", info.spawns},
          {"buildCount", 1},
          {"buildStatus", BuildStatus(info)},
          {"envdVersion", schema::kEnvdVersion}};
}

boost::json::object TemplateDetailJson(const TemplateInfo& info) {
  boost::json::object out = TemplateJson(info);
  boost::json::object build{{"buildID", BuildIdOf(info.id)},      {"status", BuildStatus(info)},
                            {"createdAt", info.created_at},       {"updatedAt", info.created_at},
                            {"finishedAt", info.created_at},      {"cpuCount", info.cpus},
                            {"memoryMB", info.memory_mib},        {"diskSizeMB", info.disk_mib},
                            {"envdVersion", schema::kEnvdVersion}};
  boost::json::array builds;
  builds.push_back(std::move(build));
  out["builds"] = std::move(builds);
  return out;
}

boost::json::object SnapshotJson(const TemplateInfo& info) {
  boost::json::array names;
  for (const std::string& name : info.names) names.emplace_back(FullTemplateName(name));
  const std::string id =
      info.names.empty() ? info.id + ":default" : FullTemplateName(info.names.front());
  return {{"snapshotID", id}, {"names", std::move(names)}};
}

boost::json::object InspectTemplateJson(const TemplateInfo& info) {
  const auto or_null = [](const std::string& text) {
    return text.empty() ? boost::json::value(nullptr) : boost::json::value(ValidUtf8(text));
  };
  return {{"templateID", info.id},
          {"names", Strings(info.names)},
          {"isSnapshot", info.is_snapshot},
          {"sourceSandbox", or_null(info.source_sandbox)},
          {"parent", or_null(info.parent)},
          {"hasMemory", info.has_memory},
          {"misfit", or_null(info.misfit)},
          {"cpuCount", info.cpus},
          {"memoryMB", info.memory_mib},
          {"diskSizeMB", info.disk_mib},
          {"storedBytes", info.stored_bytes},
          {"createdAt", info.created_at},
          {"vmm",
           {{"name", or_null(info.vmm)},
            {"version", or_null(info.vmm_version)},
            {"accelerator", or_null(info.accelerator)}}},
          {"kernel", or_null(info.kernel)},
          {"sandboxes", info.sandboxes},
          {"ready", info.ready}};
}

}  // namespace tinderbox::api
