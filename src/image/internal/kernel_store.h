// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "base/error.h"
#include "image/library.h"

namespace tinderbox::image {

// The kernels below <state_dir>/kernels:
//   <version>/{vmlinux,initrd.img,modules/<file>.ko,manifest.json}
//   current                 the version that sandboxes boot
class KernelStore {
 public:
  struct Options {
    std::string state_dir;
    std::string agent;    // path of the guest agent
    std::string package;  // a kernel package, or a meta package that depends on one
  };
  explicit KernelStore(Options options);

  // kFailedPrecondition where none was prepared, kDataLoss where files are missing or damaged.
  base::Result<Kernel> Current() const;
  // See Library::PrepareKernel.
  base::Result<Kernel> Prepare(const Progress& progress);
  // Unpacks a package file that is there already, and makes it the current kernel.
  base::Result<Kernel> Install(const std::string& package, const std::string& deb,
                               const std::string& work_dir, const Progress& progress);

 private:
  base::Result<Kernel> Load(const std::string& version) const;
  base::Result<Kernel> Refresh(const std::string& version, const Progress& progress);
  std::string Dir(const std::string& version) const;

  Options options_;
};

}  // namespace tinderbox::image
