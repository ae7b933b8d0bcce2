// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// Linked into the tests' daemon alone. The linker takes it in the place of stage_hook.cc, which is
// in a library.
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "daemon/stage_hook.h"

namespace tinderbox::daemon {

std::function<void(std::string_view)> StageHook() {
  const char* const wish = std::getenv("TINDERBOX_DIE_AT");
  if (wish == nullptr) return {};
  return [at = std::string(wish)](std::string_view stage) {
    if (stage == at) ::kill(::getpid(), SIGKILL);
  };
}

}  // namespace tinderbox::daemon
