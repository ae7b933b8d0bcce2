// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/transform_rules.h"

#include <fmt/format.h>

#include <utility>

#include "egress/transform.h"

namespace tinderbox::api {

void ReadTransforms(FieldReader& fields, sandbox::NetworkRules& rules) {
  const auto* object = fields.Object("rules");
  if (object == nullptr) return;
  auto transforms = egress::TransformsFromJson(*object);
  if (transforms) {
    rules.transforms = *std::move(transforms);
    return;
  }
  fields.Take(
      std::move(transforms).error().WithContext(fmt::format("field '{}'", fields.NameOf("rules"))));
}

}  // namespace tinderbox::api
