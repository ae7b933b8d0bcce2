// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/oom_score.h"

#include <fmt/format.h>

#include <charconv>
#include <string>

#include "sys/file.h"

namespace tinderbox::sys {

base::Result<> RaiseOomScore(pid_t pid, int score) {
  const std::string path = fmt::format("/proc/{}/oom_score_adj", pid);
  const std::string text = TRY(ReadFile(path, 64));
  int now = 0;
  std::from_chars(text.data(), text.data() + text.size(), now);
  if (now >= score) return {};
  return WriteExisting(path, std::to_string(score));
}

}  // namespace tinderbox::sys
