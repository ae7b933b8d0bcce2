// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

// Which files a dynamically linked program needs to start, found as the dynamic linker finds them,
// but by reading: nothing is executed.
namespace tinderbox::vmm {

// Where libraries are looked for.
struct LibraryPlaces {
  std::string cache = "/etc/ld.so.cache";  // as ldconfig(8) writes it; may be absent
  std::vector<std::string> folders;        // after the cache
};
// Those of this machine.
LibraryPlaces SystemLibraryPlaces();

struct ProgramFilesRequest {
  std::string program;               // an absolute path
  std::vector<std::string> modules;  // files that the program loads itself, with their libraries
  // Libraries that are loaded by name when they are needed, if they are there.
  std::vector<std::string> optional;
};

// The program, its loader, its modules, its libraries and theirs, and the linker's cache: absolute
// paths, each once, by which the dynamic linker opens them. Just the program if it is static.
// kFailedPrecondition, naming both files, if a library is missing; kInvalidArgument if a file is
// not an ELF file of this machine's kind.
base::Result<std::vector<std::string>> ProgramFiles(const ProgramFilesRequest& request,
                                                    const LibraryPlaces& places);

// All paths that the linker's cache has for `library`, in its order. `cache` is the file's content;
// none if it is damaged.
std::vector<std::string> FindInLinkerCache(std::string_view cache, std::string_view library);

// For an ELF file.
struct ElfNeeds {
  unsigned machine = 0;  // e_machine
  std::string loader;    // PT_INTERP, or empty
  std::vector<std::string> libraries;
  std::vector<std::string> folders;  // DT_RUNPATH, or DT_RPATH; $ORIGIN is not replaced yet
};
base::Result<ElfNeeds> ReadElfNeeds(const std::string& path);

}  // namespace tinderbox::vmm
