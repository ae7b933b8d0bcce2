// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/cpio.h"

#include <archive.h>
#include <archive_entry.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <memory>
#include <string>
#include <vector>

#include "image/internal/initramfs.h"

namespace tinderbox::image {
namespace {

struct Entry {
  std::string path;
  mode_t mode;
  std::string content;
  dev_t device;
  std::int64_t time;
};

// Reads an archive with another implementation than ours.
std::vector<Entry> ReadBack(const std::string& bytes) {
  const std::unique_ptr<archive, int (*)(archive*)> reader(::archive_read_new(),
                                                           ::archive_read_free);
  ::archive_read_support_format_cpio(reader.get());
  EXPECT_EQ(::archive_read_open_memory(reader.get(), bytes.data(), bytes.size()), ARCHIVE_OK);
  std::vector<Entry> entries;
  archive_entry* entry = nullptr;
  int status = ARCHIVE_OK;
  while ((status = ::archive_read_next_header(reader.get(), &entry)) == ARCHIVE_OK) {
    std::string content(static_cast<std::size_t>(::archive_entry_size(entry)), '\0');
    EXPECT_EQ(::archive_read_data(reader.get(), content.data(), content.size()),
              static_cast<la_ssize_t>(content.size()));
    EXPECT_EQ(::archive_entry_uid(entry), 0);
    entries.push_back({::archive_entry_pathname(entry), ::archive_entry_mode(entry), content,
                       ::archive_entry_rdev(entry), ::archive_entry_mtime(entry)});
  }
  EXPECT_EQ(status, ARCHIVE_EOF);
  return entries;
}

TEST(CpioTest, IsReadBackByLibarchive) {
  CpioBuilder archive;
  ASSERT_TRUE(archive.AddFile("modules/a.ko", "odd", 0644));
  ASSERT_TRUE(archive.AddFile("init", std::string(5000, 'i'), 0755));
  ASSERT_TRUE(archive.AddCharDevice("dev/console", 0600, 5, 1));
  ASSERT_TRUE(archive.AddFile("empty", "", 0600));
  const auto entries = ReadBack(archive.Build());
  ASSERT_EQ(entries.size(), 6u);
  EXPECT_EQ(entries[0].path, "dev");
  EXPECT_EQ(entries[0].mode, S_IFDIR | 0755u);
  EXPECT_EQ(entries[1].path, "dev/console");
  EXPECT_EQ(entries[1].mode, S_IFCHR | 0600u);
  EXPECT_EQ(entries[1].device, makedev(5, 1));
  EXPECT_EQ(entries[2].path, "empty");
  EXPECT_EQ(entries[3].content, std::string(5000, 'i'));
  EXPECT_EQ(entries[3].mode, S_IFREG | 0755u);
  EXPECT_EQ(entries[4].path, "modules");
  EXPECT_EQ(entries[5].content, "odd");
  for (const auto& entry : entries) EXPECT_EQ(entry.time, 0);
}

TEST(CpioTest, HasTheBytesThatTheFormatAsksFor) {
  CpioBuilder archive;
  ASSERT_TRUE(archive.AddFile("a", "xyz", 0644));
  const auto field = [](const char* hex) { return std::string(hex); };
  const std::string zero = field("00000000");
  const std::string expected = "070701" + field("00000001") + field("000081A4") + zero + zero +
                               field("00000001") + zero + field("00000003") + zero + zero + zero +
                               zero + field("00000002") + zero + "a" + std::string(1, '\0') +
                               "xyz" + std::string(1, '\0') + "070701" + zero + zero + zero + zero +
                               field("00000001") + zero + zero + zero + zero + zero + zero +
                               field("0000000B") + zero + "TRAILER!!!" + std::string(4, '\0');
  EXPECT_EQ(archive.Build(), expected);
}

TEST(CpioTest, IsTheSameInWhateverOrderItWasFilled) {
  CpioBuilder one;
  ASSERT_TRUE(one.AddFile("b/c", "1", 0644));
  ASSERT_TRUE(one.AddFile("a", "2", 0644));
  CpioBuilder other;
  ASSERT_TRUE(other.AddFile("a", "2", 0644));
  ASSERT_TRUE(other.AddFile("b/c", "1", 0644));
  EXPECT_EQ(one.Build(), other.Build());
}

TEST(CpioTest, RefusesPathsThatAreNotPlain) {
  CpioBuilder archive;
  for (const char* path : {"", "/a", "a/", "a//b", "./a", "../a", "a/../b", ".", ".."}) {
    EXPECT_EQ(archive.AddFile(path, "", 0644).error().code(), base::Code::kInvalidArgument) << path;
  }
  // A reader would take the one for the end of the archive, the other for a shorter name.
  EXPECT_FALSE(archive.AddFile("TRAILER!!!", "", 0644));
  EXPECT_FALSE(archive.AddFile(std::string("a\0b", 3), "", 0644));
  EXPECT_FALSE(archive.AddFile("TRAILER!!!/below", "", 0644));
  EXPECT_TRUE(archive.AddFile("a/TRAILER!!!", "", 0644));
  ASSERT_TRUE(archive.AddFile("file", "", 0644));
  EXPECT_FALSE(archive.AddFile("file", "", 0644));
  EXPECT_FALSE(archive.AddFile("file/below", "", 0644));
}

TEST(InitramfsTest, HoldsInitModulesAndTheirOrder) {
  const std::string init = "\177ELF program";
  const auto initramfs =
      BuildInitramfs({.init = init, .modules = {{"z.ko", "first"}, {"a.ko", "second"}}});
  ASSERT_TRUE(initramfs) << initramfs.error().ToString();
  bool init_seen = false;
  bool order_seen = false;
  for (const auto& entry : ReadBack(*initramfs)) {
    if (entry.path == "init") init_seen = entry.content == init && (entry.mode & 0111) == 0111;
    if (entry.path == "modules/order") order_seen = entry.content == "z.ko\na.ko\n";
  }
  EXPECT_TRUE(init_seen);
  EXPECT_TRUE(order_seen);
  EXPECT_EQ(*initramfs,
            *BuildInitramfs({.init = init, .modules = {{"z.ko", "first"}, {"a.ko", "second"}}}));
}

TEST(InitramfsTest, RefusesAnAgentThatIsNoProgram) {
  const auto initramfs = BuildInitramfs({.init = "#!/bin/sh\n", .modules = {}});
  ASSERT_FALSE(initramfs);
  EXPECT_FALSE(initramfs.error().remedy().empty());
}

}  // namespace
}  // namespace tinderbox::image
