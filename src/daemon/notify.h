// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace tinderbox::daemon {

// Tells the service manager ("READY=1", "STOPPING=1") by the datagram protocol of sd_notify(3).
// Does nothing where nobody asked for it (no NOTIFY_SOCKET); a failure is no failure of ours.
void NotifyServiceManager(std::string_view state);

}  // namespace tinderbox::daemon
