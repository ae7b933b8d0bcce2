// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "warden/oom_score.h"

#include <fcntl.h>

#include "warden/kernel.h"
#include "warden/text.h"

namespace tinderbox::warden {

void OomScore::Open() {
  fd_ =
      static_cast<int>(Call(__NR_openat, AT_FDCWD, "/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC));
  char text[8] = {};
  const long size = fd_ < 0 ? 0 : Call(__NR_read, fd_, text, sizeof text);
  const bool negative = size > 0 && text[0] == '-';
  for (long i = negative ? 1 : 0; i < size && text[i] >= '0' && text[i] <= '9'; ++i) {
    inherited_ = inherited_ * 10 + (text[i] - '0');
  }
  if (negative) inherited_ = -inherited_;
}

void OomScore::Write(int score) {
  Line line;
  line.Add(score);
  if (fd_ >= 0) Call(__NR_pwrite64, fd_, line.data(), line.size(), 0);
}

void OomScore::RaiseTo(int score) {
  if (score > inherited_) Write(score);
}

void OomScore::Restore() {
  Write(inherited_ < 0 ? 0 : inherited_);
  Close(fd_);
  fd_ = -1;
}

}  // namespace tinderbox::warden
