// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "image/library.h"

// What is asked of the host's own apt: with its sources, its keys and its proxy, and without
// changing anything of it.
namespace tinderbox::image {

struct DownloadedPackage {
  std::string package;  // "linux-image-6.1.0-56-cloud-amd64"
  std::string path;     // of the .deb
};

// The package that `meta` depends on, which has the kernel itself: "linux-image-cloud-amd64" gives
// "linux-image-6.1.0-56-cloud-amd64". Of the host's package lists, without network. kNotFound where
// apt knows none.
base::Result<std::string> ResolveKernelPackage(const std::string& meta);
// The same, of the output of `apt-cache depends`.
base::Result<std::string> ParseKernelDependency(std::string_view depends, const std::string& meta);

// Downloads what `meta` leads to into `dir` (apt checks it against its signed lists). Where the
// host's lists are missing or too old for the archive, fresh ones are fetched into `dir`. apt's
// unprivileged user does the network's part, if it can reach `dir`; its mode becomes 0711.
base::Result<DownloadedPackage> DownloadKernelPackage(const std::string& meta,
                                                      const std::string& dir,
                                                      const Progress& progress);

// Lines for a sources.list with the host's own Debian archives of `suite` ("bookworm", its updates
// and security), of the output of `apt-cache policy`; Debian's public archives where the host has
// none of them. Archives of others, and addresses with a password, are left out.
std::vector<std::string> DebianSources(std::string_view policy, std::string_view suite);

// The host's apt settings that a download needs (proxy, certificates, clock checks), as "-o"
// values, of the output of `apt-config dump`.
std::vector<std::string> TransportSettings(std::string_view config);

// Environment variables of this process that a download needs (proxy, certificates), "NAME=value".
std::vector<std::string> TransportEnvironment();

// An error for a tool of apt's family that failed, with the remedy that fits its messages.
base::Error AptError(std::string_view what, int exit_code, std::string_view messages);

}  // namespace tinderbox::image
