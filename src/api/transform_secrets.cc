// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "api/transform_rules.h"
#include "egress/transform.h"

namespace tinderbox::api {

using base::Code;

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
