// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/version.h"

#include <fmt/format.h>

#include <charconv>

#include "sys/tool.h"

namespace tinderbox::vmm {

using base::Code;
using base::Error;
using base::Result;

namespace {

// Takes a number off the front of `text`; false where there is none.
bool TakeNumber(std::string_view& text, int& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || number < 0) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

bool TakeDot(std::string_view& text) {
  if (!text.starts_with('.')) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

std::string Version::ToString() const { return fmt::format("{}.{}.{}", major, minor, patch); }

Result<Version> ParseVersion(std::string_view text, std::string_view word) {
  for (auto at = text.find(word); at != std::string_view::npos; at = text.find(word, at + 1)) {
    std::string_view rest = text.substr(at + word.size());
    Version version;
    if (!TakeNumber(rest, version.major) || !TakeDot(rest) || !TakeNumber(rest, version.minor))
      continue;
    if (TakeDot(rest) && !TakeNumber(rest, version.patch)) version.patch = 0;
    return version;
  }
  return base::Fail(Code::kDataLoss, fmt::format("no version after '{}'", word));
}

Result<Version> ReadVersion(const std::string& binary, std::string_view word,
                            base::Deadline deadline, const std::string& flag) {
  sys::ToolSpec tool;
  tool.argv = {binary, flag};
  tool.max_output = 16 << 10;
  tool.deadline = deadline;
  const auto context = [&] { return fmt::format("ask '{}' for its version", binary); };
  const sys::ToolResult result = TRY_CTX(sys::RunTool(tool), context());
  auto version = ParseVersion(result.output, word);
  if (result.exit_code == 0 && version) return version;
  return std::unexpected(Error(Code::kFailedPrecondition,
                               fmt::format("{}: it is not the program it should be (exit {})",
                                           context(), result.exit_code))
                             .WithRemedy("Configure the path of a working VMM program."));
}

Result<> CheckFirecrackerVersion(Version version) {
  const bool has_hole = (version >= Version{1, 13, 0} && version <= Version{1, 14, 3}) ||
                        version == Version{1, 15, 0};
  if (!has_hole && version >= Version{1, 10, 0}) return {};
  return std::unexpected(
      Error(Code::kFailedPrecondition,
            fmt::format(
                "Firecracker {} must not be used: {}", version.ToString(),
                has_hole ? "a guest can write into its VMM (CVE-2026-5747)" : "it is too old"))
          .WithRemedy("Install Firecracker 1.12, 1.14.4, 1.15.1 or later."));
}

}  // namespace tinderbox::vmm
