// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderboxd prepare.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <cerrno>
#include <cstdio>

#include "daemon/commands.h"
#include "daemon/wire.h"
#include "sys/file.h"

namespace tinderbox::daemon {
namespace {

void Show(std::string_view line) {
  fmt::print("  {}\n", line);
  std::fflush(stdout);
}

}  // namespace

base::Result<> Prepare(const Config& config) {
  TRY(PrepareDirectories(config));
  const std::string agent = TRY(FindAgent(config));
  // Two at once would do the same work twice; the second waits and then finds it done.
  const sys::UniqueFd lock =
      TRY(sys::Open(config.state_dir + "/prepare.lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    Show("another `tinderboxd prepare` runs: waiting for it");
    while (flock(lock.get(), LOCK_EX) != 0) {
      if (errno != EINTR) return base::FailErrno(errno, "lock the state directory");
    }
  }
  TRY(sys::RemoveTemporaries(config.state_dir + "/kernels"));
  const auto library = TRY(image::OpenLibrary(LibraryOptionsOf(config, agent), Show));
  const image::Kernel kernel = TRY(library->PrepareKernel(Show));
  const image::Template base = TRY(library->PrepareBaseTemplate(Show));
  Show(fmt::format("ready: kernel {}, template {}", kernel.version, base.name));
  return {};
}

}  // namespace tinderbox::daemon
