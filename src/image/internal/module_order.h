// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

// Which kernel modules a guest needs, and in which order they must be loaded. Debian's kernel
// packages carry no modules.dep (depmod makes it at installation), so the modules are asked
// themselves.
namespace tinderbox::image {

// The name by which modules know each other: "virtio-rng.ko.xz" and its path give "virtio_rng".
std::string ModuleName(std::string_view path);

// The modules that `elf` (an uncompressed .ko) needs, of its ".modinfo" section's "depends=".
base::Result<std::vector<std::string>> ModuleDependencies(std::string_view elf);

// The names that a package's "modules.builtin" lists.
std::set<std::string> ParseBuiltin(std::string_view modules_builtin);

// `wanted` and all that they need, each after what it needs itself; else in the order of `wanted`.
// `modules` maps names to the content of the .ko files. What is built in needs no module; a module
// that is neither there nor built in is kNotFound, a circle of needs kDataLoss.
base::Result<std::vector<std::string>> OrderModules(
    const std::vector<std::string>& wanted, const std::map<std::string, std::string>& modules,
    const std::set<std::string>& builtin);

}  // namespace tinderbox::image
