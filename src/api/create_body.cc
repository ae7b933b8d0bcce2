// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/create_body.h"

#include <fmt/format.h>

#include <boost/json.hpp>
#include <limits>
#include <utility>

#include "api/network_body.h"
#include "api/request_fields.h"
#include "api/template_name.h"
#include "sandbox/mount_paths.h"

namespace tinderbox::api {
namespace {

using base::Code;
using base::Result;

constexpr char kLater[] = "it is not supported yet";
constexpr std::size_t kMaxMapBytes = 64 << 10;
// The manager knows what is too little and too much, and says it better.
constexpr std::int64_t kMaxSize = std::numeric_limits<std::uint32_t>::max();

bool Contains(const std::string& text, char c) { return text.find(c) != text.npos; }

std::size_t BytesOf(const std::map<std::string, std::string>& map) {
  std::size_t bytes = 0;
  for (const auto& [key, value] : map) bytes += key.size() + value.size();
  return bytes;
}

void ReadMaps(FieldReader& fields, sandbox::CreateRequest& request) {
  request.metadata = fields.StringMap("metadata").value_or(request.metadata);
  request.env = fields.StringMap("envVars").value_or(request.env);
  for (const auto& [key, value] : request.env) {
    if (key.empty() || Contains(key, '=') || Contains(key, '\0') || Contains(value, '\0')) {
      fields.Fail("envVars",
                  fmt::format("has a name or value that no environment can hold: '{}'", key));
    }
  }
  for (const auto& [name, map] :
       {std::pair("metadata", &request.metadata), std::pair("envVars", &request.env)}) {
    if (BytesOf(*map) > kMaxMapBytes) {
      fields.Fail(name, fmt::format("holds more than {} bytes", kMaxMapBytes));
    }
  }
}

void ReadLifecycle(FieldReader& fields, sandbox::CreateRequest& request) {
  const bool pause = fields.Bool("autoPause").value_or(false);
  const bool memory = fields.Bool("autoPauseMemory").value_or(true);
  if (pause) request.on_timeout = sandbox::TimeoutAction::kPause;
  if (!memory) request.auto_pause_mode = sandbox::PauseMode::kFilesystem;
  if (!memory && !pause)
    fields.Fail("autoPauseMemory", "may be false only where autoPause is true");
  if (const auto* resume = fields.Object("autoResume")) {
    FieldReader inner(*resume, fields.NameOf("autoResume."));
    request.auto_resume = inner.Bool("enabled").value_or(false);
    if (request.auto_resume && !memory) {
      inner.Fail(
          "enabled",
          "may be true only where autoPauseMemory is not false: traffic cannot wake what has "
          "to boot");
    }
    if (auto checked = inner.Finish(); !checked) fields.Take(checked.error());
  }
  request.cold = fields.Bool("cold").value_or(false);
}

void ReadVolumes(FieldReader& fields, sandbox::CreateRequest& request) {
  const auto* mounts = fields.Array("volumeMounts");
  if (mounts == nullptr) return;
  if (mounts->size() > sandbox::kMaxVolumeMounts) {
    return fields.Fail("volumeMounts",
                       fmt::format("has more than {} entries", sandbox::kMaxVolumeMounts));
  }
  for (const boost::json::value& each : *mounts) {
    if (!each.is_object()) return fields.Fail("volumeMounts", "has an entry that is no object");
    FieldReader inner(each.as_object(), fields.NameOf("volumeMounts."));
    const auto name = inner.String("name");
    const auto path = inner.String("path");
    if (!name) inner.Fail("name", "is required");
    if (!path) inner.Fail("path", "is required");
    if (auto checked = inner.Finish(); !checked) return fields.Take(checked.error());
    if (!request.volume_mounts.emplace(*path, *name).second) {
      return fields.Fail("volumeMounts", fmt::format("names the path '{}' twice", *path));
    }
  }
  if (auto checked = sandbox::CheckMounts(request.volume_mounts); !checked) {
    fields.Fail("volumeMounts", checked.error().message());
  }
}

void ReadIam(FieldReader& fields) {
  const auto* iam = fields.Object("iam");
  if (iam == nullptr) return;
  FieldReader inner(*iam, fields.NameOf("iam."));
  if (const auto* tokens = inner.Object("tokens"); tokens != nullptr && !tokens->empty()) {
    inner.Unsupported("tokens", kLater);
  }
  if (auto checked = inner.Finish(); !checked) fields.Take(checked.error());
}

void ReadSize(FieldReader& fields, sandbox::CreateRequest& request) {
  if (const auto memory = fields.Integer("memoryMB", 0, kMaxSize)) {
    request.memory_mib = static_cast<std::uint32_t>(*memory);
  }
  if (const auto cpus = fields.Integer("cpuCount", 0, kMaxSize)) {
    request.cpus = static_cast<std::uint32_t>(*cpus);
  }
}

}  // namespace

Result<sandbox::CreateRequest> ParseCreate(std::string_view body, Generation generation) {
  const boost::json::object object = TRY(ParseObject(body, false));
  FieldReader fields(object);
  sandbox::CreateRequest request;
  const auto name = fields.String("templateID");
  if (!name) {
    fields.Fail("templateID", "is required");
  } else if (auto normal = NormalTemplateName(*name)) {
    request.template_id = *normal;
  } else {
    fields.Fail("templateID", fmt::format("is wrong: {}", normal.error().message()));
  }
  request.timeout = std::chrono::seconds(fields.Integer("timeout", 1, kMaxTimeoutSeconds)
                                             .value_or(generation == Generation::kV1 ? 15 : 300));
  ReadMaps(fields, request);
  ReadSize(fields, request);
  NetworkOptions network = ReadNetwork(fields);
  request.network = std::move(network.rules);
  request.public_ports = network.public_ports;
  request.mask_host = std::move(network.mask_host);
  request.https_ports = std::move(network.https_ports);
  // Every sandbox is secured, whatever the old generation of clients asks for.
  static_cast<void>(fields.Bool("secure"));
  ReadLifecycle(fields, request);
  ReadVolumes(fields, request);
  ReadIam(fields);
  // For the record only: the SDK itself starts the gateway in the guest.
  static_cast<void>(fields.Object("mcp"));
  TRY(fields.Finish());

  return request;
}

}  // namespace tinderbox::api
