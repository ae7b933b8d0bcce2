// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// E2B's routes for volumes; what is in them is volume_content.h's.
#include <fmt/format.h>

#include <boost/json.hpp>

#include "api/control.h"
#include "api/error_map.h"
#include "api/request_fields.h"
#include "volume/volumes.h"

namespace tinderbox::api {
namespace {

using base::Code;

boost::json::object WithToken(const volume::Volume& volume) {
  return {{"volumeID", volume.id}, {"name", volume.name}, {"token", volume.token}};
}

Answer Create(ControlContext& context, const Request& request) {
  const auto object = ParseObject(request.body, false);
  if (!object) return ErrorAnswer(object.error());
  FieldReader fields(*object);
  const auto name = fields.String("name");
  if (!name) fields.Fail("name", "is required");
  if (const auto read = fields.Finish(); !read) return ErrorAnswer(read.error());
  const auto made = context.volumes->Create(*name);
  if (made) return JsonAnswer(201, WithToken(*made));
  if (made.error().code() == Code::kResourceExhausted) return Refusal(507, made.error(), "");
  return ErrorAnswer(made.error());
}

Answer List(ControlContext& context, const Request&) {
  const auto all = context.volumes->List();
  if (!all) return ErrorAnswer(all.error());
  boost::json::array list;
  for (const volume::Volume& volume : *all) {
    boost::json::object entry{{"volumeID", volume.id}, {"name", volume.name}};
    if (const auto usage = context.volumes->UsageOf(volume.id)) {
      entry["usedBytes"] = (*usage)->used();
      if ((*usage)->limit() != 0) entry["limitBytes"] = (*usage)->limit();
    }
    list.push_back(std::move(entry));
  }
  return JsonAnswer(200, std::move(list));
}

Answer GetOne(ControlContext& context, const Request& request) {
  const auto volume = context.volumes->Get(request.params.at(0));
  return volume ? JsonAnswer(200, WithToken(*volume)) : ErrorAnswer(volume.error());
}

Answer Remove(ControlContext& context, const Request& request) {
  const auto volume = context.volumes->Get(request.params.at(0));
  if (!volume) return ErrorAnswer(volume.error());
  for (const sandbox::SandboxInfo& info : context.manager.List()) {
    if (info.state == sandbox::State::kDead) continue;
    for (const auto& [path, name] : info.volume_mounts) {
      if (name != volume->name) continue;
      return ErrorAnswer(Code::kFailedPrecondition,
                         fmt::format("volume '{}' is mounted in sandbox '{}'", name, info.id),
                         "Remove that sandbox first.");
    }
  }
  const auto removed = context.volumes->Remove(volume->id);
  return removed ? EmptyAnswer(204) : ErrorAnswer(removed.error());
}

}  // namespace

std::vector<Route> VolumeRoutes() {
  return {
      {"POST", "/volumes", Lane::kQuick, Create},
      {"GET", "/volumes", Lane::kQuick, List},
      {"GET", "/volumes/{id}", Lane::kQuick, GetOne},
      {"DELETE", "/volumes/{id}", Lane::kQuick, Remove},
  };
}

}  // namespace tinderbox::api
