// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "image/library.h"
#include "vmm/driver.h"

namespace tinderbox::sandbox {

std::string_view AcceleratorName(vmm::Accelerator accelerator);  // "kvm", "tcg"

// Describes the VM of memory that is saved now.
image::SavedVm SavedVmOf(const vmm::Capabilities& driver, const std::string& kernel_version);

// Why `driver` cannot restore the saved memory, for a person; empty if it can.
std::string MisfitOf(const image::SavedVm& saved, const vmm::Capabilities& driver);

}  // namespace tinderbox::sandbox
