// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sandbox/idle_cores.h"

#include <charconv>
#include <system_error>

namespace tinderbox::sandbox {

double IdleCores::Update(std::string_view proc_uptime) {
  double up = 0, idle = 0;  // the latter is the sum of all cores
  const char* const end = proc_uptime.data() + proc_uptime.size();
  const auto first = std::from_chars(proc_uptime.data(), end, up);
  if (first.ec != std::errc() || first.ptr == end) return 0;
  if (std::from_chars(first.ptr + 1, end, idle).ec != std::errc()) return 0;
  const Seconds passed = Seconds(up) - up_;
  if (started_ && passed < kWindow) return cores_;
  if (started_) cores_ = (Seconds(idle) - idle_ + own_) / passed;
  started_ = true;
  up_ = Seconds(up);
  idle_ = Seconds(idle);
  own_ = {};
  return cores_;
}

}  // namespace tinderbox::sandbox
