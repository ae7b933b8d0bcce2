// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/transform_rules.h"

#include <fmt/format.h>

#include <utility>

#include "egress/transform.h"

namespace tinderbox::api {

using base::Code;

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

base::Result<> CheckSecrets(secret::Vault& secrets, const sandbox::NetworkRules& rules) {
  for (const std::string& name : egress::SecretsOf(rules.transforms)) {
    const auto found = secrets.Get(name);
    if (found) continue;
    if (found.error().code() != Code::kNotFound) return std::unexpected(found.error());
    return std::unexpected(
        base::Error(Code::kInvalidArgument,
                    fmt::format("the network rules name a secret '{}', which there is not", name))
            .WithRemedy(
                fmt::format("Keep one first: tinderbox secret set {}, or Secret.create.", name)));
  }
  return {};
}

}  // namespace tinderbox::api
