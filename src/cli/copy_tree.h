// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/json/array.hpp>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "cli/guest_files.h"

namespace tinderbox::cli {

// One run of `cp`: what was copied, and what was left out (links to directories, devices, sockets).
struct CopyReport {
  boost::json::array files;  // the agent's account of files copied in, {path,size} of those out
  std::vector<std::string> skipped;  // with the reason, for people
};

// A file or directory into the sandbox. As with cp -r: into `to` if that is a directory or ends
// with
// '/', else under that name. Links to files are followed. Modes are kept.
base::Result<> CopyIn(GuestFiles& guest, const std::string& from, const std::string& to,
                      CopyReport& report);

// The same out of the sandbox. What the guest says cannot lead out of `to`: names are checked, and
// nothing is written through a link below it.
base::Result<> CopyOut(GuestFiles& guest, const std::string& from, const std::string& to,
                       CopyReport& report);

}  // namespace tinderbox::cli
