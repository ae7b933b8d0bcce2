// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace tinderbox::base {

// A fresh sandbox id: 'i' and 20 random characters of [a-z0-9] (E2B's form; no dash, because a dash
// splits the host label `<port>-<id>`). About 103 bits from getrandom(2).
std::string NewSandboxId();

// `bytes` random bytes from getrandom(2) as lower-case hexadecimal.
std::string RandomHex(std::size_t bytes);

// A random UUID (version 4), lower case.
std::string NewUuid();

// True for 1-64 characters of [a-z0-9-], the first one a letter or digit: what may name a VM, a
// directory, a cgroup and a namespace without quoting anywhere. (Firecracker's own --id takes 1-64
// of [A-Za-z0-9-].)
bool IsValidVmId(std::string_view id);

}  // namespace tinderbox::base
