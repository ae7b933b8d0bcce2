// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "daemon/stage_hook.h"

namespace tinderbox::daemon {

std::function<void(std::string_view)> StageHook() { return {}; }

}  // namespace tinderbox::daemon
