// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "volume/metadata.h"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "sys/file.h"

namespace tinderbox::volume {

using base::Code;
using base::Fail;
using base::Result;

namespace {

constexpr std::size_t kMaxBytes = 64 << 10;

}  // namespace

Result<> Metadata::Write(const store::VolumeRecord& volume) const {
  const boost::json::object object{{"id", volume.id},
                                   {"name", volume.name},
                                   {"token", volume.token},
                                   {"createdAt", volume.created_at}};
  return sys::WriteFileAtomic(PathOf(volume.id), boost::json::serialize(object), 0600);
}

Result<store::VolumeRecord> Metadata::Read(const std::string& id) const {
  const std::string path = PathOf(id);
  const std::string text = TRY(sys::ReadFile(path, kMaxBytes));
  const auto damaged = [&path] {
    return Fail(Code::kDataLoss, fmt::format("'{}' is damaged", path));
  };
  boost::system::error_code error;
  const auto value = boost::json::parse(text, error);
  if (error || !value.is_object()) return damaged();
  const boost::json::object& object = value.as_object();
  const auto field = [&object](std::string_view key) {
    const auto* member = object.if_contains(key);
    return member != nullptr && member->is_string() ? std::string(member->as_string()) : "";
  };
  store::VolumeRecord volume{
      .id = field("id"), .name = field("name"), .token = field("token"), .created_at = 0};
  const auto* created = object.if_contains("createdAt");
  if (created != nullptr && created->is_int64()) volume.created_at = created->as_int64();
  if (volume.id != id || volume.name.empty() || volume.token.empty()) return damaged();
  return volume;
}

Result<> Metadata::Remove(const std::string& id) const { return sys::RemoveFile(PathOf(id)); }

Result<> Metadata::MarkRemoved(const std::string& id) const {
  return sys::WriteFileAtomic(MarkOf(id), "", 0600);
}

bool Metadata::IsMarkedRemoved(const std::string& id) const { return sys::Exists(MarkOf(id)); }

Result<> Metadata::UnmarkRemoved(const std::string& id) const {
  return sys::RemoveFile(MarkOf(id));
}

}  // namespace tinderbox::volume
