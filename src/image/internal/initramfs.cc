// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/initramfs.h"

#include "image/internal/cpio.h"

namespace tinderbox::image {

using base::Result;

Result<std::string> BuildInitramfs(InitramfsContent content) {
  CpioBuilder archive;
  if (!content.init.starts_with("\177ELF")) {
    return std::unexpected(
        base::Error(base::Code::kFailedPrecondition, "build initramfs: the agent is no program")
            .WithRemedy("Point to the built tinderbox-agent."));
  }
  TRY(archive.AddFile("init", std::move(content.init), 0755));
  // Process 1 is started with its standard streams on /dev/console: before it can mount anything.
  TRY(archive.AddDirectory("dev", 0755));
  TRY(archive.AddCharDevice("dev/console", 0600, 5, 1));
  for (const char* mount_point : {"proc", "sys", "root"}) {
    TRY(archive.AddDirectory(mount_point, 0755));
  }
  std::string order;
  for (auto& [name, module] : content.modules) {
    order += name + "\n";
    TRY(archive.AddFile("modules/" + name, std::move(module), 0644));
  }
  TRY(archive.AddFile("modules/order", std::move(order), 0644));
  return archive.Build();
}

}  // namespace tinderbox::image
