// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "vmm/launcher.h"

namespace tinderbox::bench {

// What every way of launching is given.
struct Setting {
  std::string directory;    // of this run: run directories, mount points, kernel and disk stand-ins
  std::string netns;        // name
  std::string firecracker;  // its program, or empty
};

// Microseconds from the request to the first instruction of the no-op VMM: by the launcher…
// (`steps`, where not null, gets the times of the launch's steps)
base::Result<double> LaunchNoop(const Setting& setting, bool with_cgroup,
                                std::vector<vmm::StepTiming>* steps = nullptr);
// …and by the same sequence as a chain of programs: unshare, bash, mount, mount, ln, ln, ip, VMM.
base::Result<double> ChainNoop(const Setting& setting);

// Microseconds from the request to the first byte that Firecracker's API answers.
base::Result<double> LaunchFirecracker(const Setting& setting, bool with_cgroup);
base::Result<double> ChainFirecracker(const Setting& setting);

}  // namespace tinderbox::bench
