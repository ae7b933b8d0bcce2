// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/program_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>

#include "sys/file.h"
#include "vmm/qemu/runtime.h"

namespace tinderbox::vmm {
namespace {

using base::Code;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;

std::string Self() {
  char path[4096];
  const ssize_t size = ::readlink("/proc/self/exe", path, sizeof path);
  return std::string(path, static_cast<std::size_t>(size));
}

// A cache in glibc's format, with these libraries.
std::string Cache(const std::vector<std::pair<std::string, std::string>>& libraries) {
  std::string strings, entries;
  const std::size_t first = 48 + libraries.size() * 24;
  for (const auto& [name, path] : libraries) {
    std::uint32_t entry[6] = {0x303, static_cast<std::uint32_t>(first + strings.size()), 0, 0, 0,
                              0};
    strings += name + '\0';
    entry[2] = static_cast<std::uint32_t>(first + strings.size());
    strings += path + '\0';
    entries.append(reinterpret_cast<const char*>(entry), sizeof entry);
  }
  std::uint32_t numbers[7] = {static_cast<std::uint32_t>(libraries.size()),
                              static_cast<std::uint32_t>(strings.size()),
                              2,
                              0,
                              0,
                              0,
                              0};
  std::string header = "glibc-ld.so.cache1.1";
  header.append(reinterpret_cast<const char*>(numbers), sizeof numbers);
  return header + entries + strings;
}

TEST(LinkerCache, AllPathsOfALibraryInOrder) {
  const std::string cache =
      Cache({{"liba.so.1", "/v3/liba.so.1"}, {"libb.so", "/libb.so"}, {"liba.so.1", "/liba.so.1"}});
  using List = std::vector<std::string>;
  EXPECT_EQ(FindInLinkerCache(cache, "liba.so.1"), (List{"/v3/liba.so.1", "/liba.so.1"}));
  EXPECT_EQ(FindInLinkerCache("ld.so-1.7.0 with something" + cache, "libb.so"), List{"/libb.so"});
  EXPECT_EQ(FindInLinkerCache(cache, "liba.so"), List());
  for (std::size_t size = 0; size < cache.size(); ++size) {
    (void)FindInLinkerCache(cache.substr(0, size), "libb.so");  // reads nothing behind its end
  }
  EXPECT_EQ(FindInLinkerCache(cache.substr(0, 60), "libb.so"), List());
}

TEST(ProgramFilesTest, OfThisProgram) {
  const auto files = ProgramFiles({.program = Self()}, SystemLibraryPlaces());
  ASSERT_TRUE(files) << files.error().ToString();
  EXPECT_EQ(files->front(), Self());
  EXPECT_THAT(*files, Contains(HasSubstr("/libc.so.6")));
  EXPECT_THAT(*files, Contains(HasSubstr("/ld-linux")));
  for (const std::string& file : *files) EXPECT_TRUE(sys::Exists(file)) << file;
  // The libraries that the linker has loaded are among them.
  const std::string maps = sys::ReadFile("/proc/self/maps").value();
  EXPECT_THAT(maps, HasSubstr("libc.so.6"));
}

TEST(ProgramFilesTest, WithoutACacheTheFoldersAreSearched) {
  LibraryPlaces places = SystemLibraryPlaces();
  places.cache = "/nonexistent";
  const auto files = ProgramFiles({.program = Self()}, places);
  ASSERT_TRUE(files) << files.error().ToString();
  EXPECT_THAT(*files, Contains(HasSubstr("/libc.so.6")));
  EXPECT_THAT(*files, Not(Contains("/nonexistent")));
}

TEST(ProgramFilesTest, AMissingLibraryIsNamed) {
  const auto files = ProgramFiles({.program = Self()}, {.cache = "/nonexistent", .folders = {}});
  ASSERT_FALSE(files);
  EXPECT_EQ(files.error().code(), Code::kFailedPrecondition);
  EXPECT_THAT(files.error().message(), HasSubstr("is missing: '" + Self() + "' needs it"));
  EXPECT_NE(files.error().remedy(), "");
}

TEST(ProgramFilesTest, AnOptionalLibraryMayBeMissing) {
  const auto without = ProgramFiles({.program = Self()}, SystemLibraryPlaces());
  const auto with = ProgramFiles({.program = Self(), .optional = {"libnone.so.9", "libc.so.6"}},
                                 SystemLibraryPlaces());
  ASSERT_TRUE(without && with);
  EXPECT_EQ(*without, *with);
}

TEST(ProgramFilesTest, WhatIsNoProgramIsRefused) {
  for (const char* path : {"/etc/passwd", "/dev/null", "/proc/self/maps"}) {
    const auto files = ProgramFiles({.program = path}, SystemLibraryPlaces());
    ASSERT_FALSE(files) << path;
    EXPECT_EQ(files.error().code(), Code::kInvalidArgument) << files.error().ToString();
  }
  EXPECT_EQ(ProgramFiles({.program = "/nonexistent"}, SystemLibraryPlaces()).error().code(),
            Code::kNotFound);
}

TEST(QemuRuntime, HoldsQemuAndNotTheHost) {
  const std::string qemu = "/usr/bin/qemu-system-x86_64";
  if (!sys::Exists(qemu)) GTEST_SKIP() << "QEMU is not installed";
  qemu::Runtime runtime(qemu);
  const auto binds = runtime.Binds();
  ASSERT_TRUE(binds) << binds.error().ToString();
  std::vector<std::string> targets;
  for (const JailBind& bind : *binds) {
    EXPECT_TRUE(bind.read_only) << bind.target;
    EXPECT_EQ(bind.source, bind.target);
    targets.push_back(bind.target);
  }
  EXPECT_THAT(targets, Contains(qemu));
  EXPECT_THAT(targets, Contains("/usr/share/qemu"));
  EXPECT_THAT(targets, Contains(HasSubstr("libglib-2.0.so.0")));
  for (const char* whole : {"/usr", "/lib", "/lib64", "/usr/lib", "/usr/bin", "/usr/share",
                            "/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu"}) {
    EXPECT_THAT(targets, Not(Contains(whole)));
  }
  EXPECT_EQ(runtime.Binds().value(), *binds);
}

}  // namespace
}  // namespace tinderbox::vmm
