// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <chrono>
#include <string_view>

namespace tinderbox::sandbox {

// How many of the host's cores were idle lately, on average. CPU time that the caller used itself
// counts as idle: it would be, without the caller. For one thread at a time.
class IdleCores {
 public:
  using Seconds = std::chrono::duration<double>;

  // CPU time that the caller used since the last Update().
  void AddOwn(Seconds cpu) { own_ += cpu; }
  // Takes the text of /proc/uptime. Returns the average since the last call that returned a new
  // one, and at first, or if the text is not readable, 0. A new one needs kWindow, because the
  // kernel counts in hundredths of a second.
  double Update(std::string_view proc_uptime);

  static constexpr Seconds kWindow{0.25};

 private:
  Seconds up_{}, idle_{}, own_{};
  bool started_ = false;
  double cores_ = 0;
};

}  // namespace tinderbox::sandbox
