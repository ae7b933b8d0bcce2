// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <compare>
#include <string>
#include <string_view>

#include "base/deadline.h"
#include "base/error.h"

namespace tinderbox::vmm {

struct Version {
  int major = 0, minor = 0, patch = 0;

  auto operator<=>(const Version&) const = default;
  std::string ToString() const;  // "1.12.1"
};

// The first "<word><major>.<minor>[.<patch>]" in `text`. kDataLoss if there is none.
base::Result<Version> ParseVersion(std::string_view text, std::string_view word);

// Runs `binary --version` (or with another flag) and parses what it prints. kNotFound if there is
// no such program, kFailedPrecondition if it is something else. Needs root.
base::Result<Version> ReadVersion(const std::string& binary, std::string_view word,
                                  base::Deadline deadline, const std::string& flag = "--version");

// kFailedPrecondition for a Firecracker that must not be used: one older than 1.10 (never tried),
// or one in which a guest can write into its VMM (CVE-2026-5747: 1.13.0 to 1.14.3, and 1.15.0).
base::Result<> CheckFirecrackerVersion(Version version);

}  // namespace tinderbox::vmm
