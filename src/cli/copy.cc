// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox cp.
#include "cli/copy.h"

#include <fmt/format.h>
#include <unistd.h>

#include <boost/json.hpp>

#include "cli/agent.h"
#include "cli/commands.h"
#include "cli/copy_tree.h"
#include "cli/guest_files.h"
#include "cli/output.h"

namespace tinderbox::cli {
namespace {

using base::Code;

base::Result<> Copy(GuestFiles& guest, const CopyPlace& from, const CopyPlace& to,
                    CopyReport& report) {
  if (from.sandbox.empty()) {
    if (from.path != "-") return CopyIn(guest, from.path, to.path, report);
    TRY_CTX(guest.Upload(sys::FdRef::Borrow(STDIN_FILENO), to.path),
            fmt::format("copy standard input to '{}'", to.path));
    return {};
  }
  if (to.path != "-") return CopyOut(guest, from.path, to.path, report);
  TRY_CTX(guest.Download(from.path, sys::FdRef::Borrow(STDOUT_FILENO)),
          fmt::format("copy '{}' to standard output", from.path));
  return {};
}

}  // namespace

CopyPlace ParsePlace(std::string_view text) {
  const auto colon = text.find(':');
  // "./a:b", "/a:b" and "-" are ours; so is what begins with a colon.
  if (colon == std::string_view::npos || colon == 0 || text.substr(0, colon).contains('/') ||
      text.starts_with('.')) {
    return {.sandbox = "", .path = std::string(text)};
  }
  return {.sandbox = std::string(text.substr(0, colon)),
          .path = std::string(text.substr(colon + 1))};
}

base::Result<int> Execute(Session& session, const CopyOptions& options) {
  const CopyPlace from = ParsePlace(options.from);
  const CopyPlace to = ParsePlace(options.to);
  if (from.sandbox.empty() == to.sandbox.empty()) {
    return std::unexpected(
        base::Error(Code::kInvalidArgument, from.sandbox.empty()
                                                ? "neither FROM nor TO is in a sandbox"
                                                : "both FROM and TO are in a sandbox")
            .WithRemedy("Write one of them as SANDBOX:PATH, the other as a local path or -."));
  }
  const std::string id = TRY(session.Resolve(from.sandbox.empty() ? to.sandbox : from.sandbox));
  GuestFiles guest(TRY(Agent::Find(session, id, options.user)));
  CopyReport report;
  const auto copied = Copy(guest, from, to, report);
  for (const std::string& skipped : report.skipped) {
    PrintError(base::Error(Code::kUnimplemented, "not copied: " + skipped));
  }
  if (!copied) return std::unexpected(copied.error());
  if (session.json() && to.path != "-") TRY(PrintJson(report.files));
  return report.skipped.empty() ? 0 : 1;
}

}  // namespace tinderbox::cli
