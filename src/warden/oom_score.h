// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace tinderbox::warden {

// The warden's own OOM score adjustment, which the VMM inherits at its start. Best effort: without
// the right to lower a score, or without /proc, what was inherited stays. A score is never lowered
// below the inherited one, unless that is negative (the daemon's own protection).
class OomScore {
 public:
  // Opens the file. Before the pivot: the jail has no /proc.
  void Open();
  // For the VMM that is about to be started: at least `score`.
  void RaiseTo(int score);
  // For the warden itself, once the VMM has its own: as inherited, but not negative. Closes the
  // file.
  void Restore();

 private:
  void Write(int score);

  int fd_ = -1;
  int inherited_ = 0;
};

}  // namespace tinderbox::warden
