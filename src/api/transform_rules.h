// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "api/request_fields.h"
#include "base/error.h"
#include "sandbox/network_rules.h"
#include "secret/vault.h"

// The field `rules` of E2B's network options: what requests to some hosts get on their way out.
namespace tinderbox::api {

// What is wrong is `fields`' error.
void ReadTransforms(FieldReader& fields, sandbox::NetworkRules& rules);

// kInvalidArgument where the rules name a secret that there is not: better told now than to each
// request of the sandbox.
base::Result<> CheckSecrets(secret::Vault& secrets, const sandbox::NetworkRules& rules);

}  // namespace tinderbox::api
