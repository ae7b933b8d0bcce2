// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "sys/pagemap.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "sys/file.h"

namespace tinderbox::sys {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kPages = 3000;  // more regions than one call returns

class Pagemap : public testing::TestWithParam<PagemapMethod> {
 protected:
  void SetUp() override {
    file_ = Open("/tmp", O_TMPFILE | O_RDWR, 0600).value();
    ASSERT_EQ(::ftruncate(file_.get(), kPages * kPage), 0);
    process_ = Open("/proc/self", O_RDONLY | O_DIRECTORY).value();
    void* const map = ::mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_NORESERVE, file_.get(), 0);
    ASSERT_NE(map, MAP_FAILED);
    memory_ = static_cast<volatile char*>(map);
    begin_ = reinterpret_cast<std::uint64_t>(map);
  }
  void TearDown() override { ::munmap(const_cast<char*>(memory_), kPages * kPage); }

  base::Result<std::vector<PageRange>> Changed() const {
    return ChangedPages(process_, begin_, begin_ + kPages * kPage, GetParam());
  }
  PageRange Range(std::size_t first, std::size_t last) const {
    return {begin_ + first * kPage, begin_ + last * kPage};
  }

  UniqueFd file_, process_;
  volatile char* memory_ = nullptr;
  std::uint64_t begin_ = 0;
};

TEST_P(Pagemap, OnlyWhatWasWrittenIsChanged) {
  auto ranges = Changed();
  if (!ranges && ranges.error().code() == base::Code::kUnimplemented)
    GTEST_SKIP() << ranges.error().ToString();
  ASSERT_TRUE(ranges) << ranges.error().ToString();
  EXPECT_TRUE(ranges->empty());
  for (std::size_t i = 0; i < kPages; ++i) (void)memory_[i * kPage];  // read is not written
  EXPECT_TRUE(Changed()->empty());

  memory_[5 * kPage] = 'x';
  memory_[6 * kPage + 17] = 0;  // what it was before, and yet written
  memory_[(kPages - 1) * kPage] = 'y';
  EXPECT_EQ(*Changed(), (std::vector<PageRange>{Range(5, 7), Range(kPages - 1, kPages)}));
  memory_[5 * kPage] = 0;  // zeroed is changed
  EXPECT_EQ(Changed()->front(), Range(5, 7));
  // Given back to the file, it is the file's again.
  ASSERT_EQ(::madvise(const_cast<char*>(memory_ + 5 * kPage), kPage, MADV_DONTNEED), 0);
  EXPECT_EQ(Changed()->front(), Range(6, 7));
}

TEST_P(Pagemap, MoreRegionsThanOneAnswerHolds) {
  if (!Changed()) GTEST_SKIP() << "no PAGEMAP_SCAN";
  for (std::size_t i = 0; i < kPages; i += 2) memory_[i * kPage] = 1;
  const auto ranges = Changed();
  ASSERT_TRUE(ranges);
  ASSERT_EQ(ranges->size(), kPages / 2);
  for (std::size_t i = 0; i < ranges->size(); ++i) EXPECT_EQ((*ranges)[i], Range(2 * i, 2 * i + 1));
}

TEST_P(Pagemap, SwappedOutIsChanged) {
  if (!Changed()) GTEST_SKIP() << "no PAGEMAP_SCAN";
  memory_[9 * kPage] = 'z';
  // Without swap this does nothing, and the page stays in memory: changed all the same.
  (void)::madvise(const_cast<char*>(memory_ + 9 * kPage), kPage, MADV_PAGEOUT);
  EXPECT_EQ(*Changed(), std::vector<PageRange>{Range(9, 10)});
}

TEST_P(Pagemap, FindsTheMappingsOfAFile) {
  struct stat status{};
  ASSERT_EQ(::fstat(file_.get(), &status), 0);
  // Two mappings: the second half of the first is of another protection.
  ASSERT_EQ(::mprotect(const_cast<char*>(memory_ + 1000 * kPage), 2000 * kPage, PROT_READ), 0);
  const auto mappings = MappingsOf(process_, status);
  ASSERT_TRUE(mappings) << mappings.error().ToString();
  ASSERT_EQ(mappings->size(), 2U);
  EXPECT_EQ((*mappings)[0], (FileMapping{begin_, begin_ + 1000 * kPage, 0}));
  EXPECT_EQ((*mappings)[1],
            (FileMapping{begin_ + 1000 * kPage, begin_ + kPages * kPage, 1000 * kPage}));
  ++status.st_dev;
  EXPECT_TRUE(MappingsOf(process_, status)->empty());
}

TEST_P(Pagemap, SharedMappingsAreNotCounted) {
  struct stat status{};
  ASSERT_EQ(::fstat(file_.get(), &status), 0);
  void* const shared = ::mmap(nullptr, kPages * kPage, PROT_READ, MAP_SHARED, file_.get(), 0);
  ASSERT_NE(shared, MAP_FAILED);
  EXPECT_EQ(MappingsOf(process_, status)->size(), 1U);
  ::munmap(shared, kPages * kPage);
}

TEST_P(Pagemap, AFileThatIsMappedTooOftenIsRefused) {
  struct stat status{};
  ASSERT_EQ(::fstat(file_.get(), &status), 0);
  for (std::size_t page = 0; page < 2 * kMaxFileMappings; page += 2) {
    ASSERT_EQ(::mprotect(const_cast<char*>(memory_ + page * kPage), kPage, PROT_READ), 0);
  }
  EXPECT_EQ(MappingsOf(process_, status).error().code(), base::Code::kFailedPrecondition);
}

constexpr char kMaps[] =
    "7f0000000000-7f0000002000 rw-p 00000000 fe:00 42                         /memory.img\n"
    "7f0000002000-7f0000003000 r--s 00002000 fe:00 42                         /memory.img\n"
    "7f0000004000-7f0000006000 rw-p 00002000 00:01 42                         /memory (deleted)\n"
    "7f0000006000-7f0000007000 rw-p 10000000000 fe:00 42                      /memory.img\n"
    "7f0000007000-7f0000008000 rw-p 00000000 00:00 0 \n"
    "7f0000008000-7f0000009000 rw-p 00000000 00:00 0                          [stack]\n";

TEST(ProcessMappings, AreReadFromTheText) {
  const auto mappings = ParseMappings(kMaps, 42);
  ASSERT_TRUE(mappings) << mappings.error().ToString();
  EXPECT_EQ(*mappings, (std::vector<FileMapping>{{0x7f0000000000, 0x7f0000002000, 0},
                                                 {0x7f0000004000, 0x7f0000006000, 0x2000},
                                                 {0x7f0000006000, 0x7f0000007000, 0x10000000000}}));
  EXPECT_TRUE(ParseMappings("", 42)->empty());
  for (const char* bad :
       {"x", "1000-2000", "2000-1000 rw-p 0 0:0 42 \n", "1000-1000 rw-p 0 0:0 42\n",
        "1000-2000 rw-p 0 0:0 \n", "-2000 rw-p 0 0:0 42\n", "\n",
        "1000-fffffffffffffffff rw-p 0 0:0 42\n", "1000-2000 rw-p -1 0:0 42\n"}) {
    EXPECT_EQ(ParseMappings(bad, 42).error().code(), base::Code::kDataLoss) << bad;
  }
}

TEST(ProcessMappings, OnlyThoseThatCoverTheFileAreTaken) {
  const FileMapping first{0x100000, 0x102000, 0}, second{0x200000, 0x201000, 0x2000};
  const FileMapping beyond{0x300000, 0x301000, 1UL << 40}, twice{0x400000, 0x401000, 0x1000};
  const FileMapping at_end{0x500000, 0x501000, 0x3000};
  using List = std::vector<FileMapping>;
  EXPECT_EQ(CoverFile({beyond, second, twice, at_end, first}, 0x3000), (List{first, second}));
  EXPECT_EQ(CoverFile({beyond, first}, 0x3000), List()) << "a part is missing";
  EXPECT_EQ(CoverFile({first, second}, 0x2800), List()) << "more than the file";
  EXPECT_EQ(CoverFile({{0x100000, 0x104000, 0}}, 0x3000), List());
  EXPECT_EQ(CoverFile({{0, ~0UL, 0}}, 0x3000), List());
  EXPECT_EQ(CoverFile({{0x1000, 0x2000, ~0UL - 0xfff}}, 0x3000), List());
  EXPECT_EQ(CoverFile({}, 0), List());
}

TEST(ProcessMappings, PiecesLieInTheFile) {
  const std::vector<FileMapping> mappings = {{0x200000, 0x202000, 0}, {0x100000, 0x103000, 0x2000}};
  using List = std::vector<FilePiece>;
  EXPECT_EQ(PiecesOf(mappings, {{0, ~0UL}}),
            (List{{0x200000, 0, 0x2000}, {0x100000, 0x2000, 0x3000}}));
  EXPECT_EQ(PiecesOf(mappings, {{0x101000, 0x102000}, {0x101000, 0x103000}, {0xff000, 0x101000}}),
            (List{{0x100000, 0x2000, 0x3000}}))
      << "each byte once";
  EXPECT_EQ(PiecesOf(mappings, {{0x201000, 0x300000}}), (List{{0x201000, 0x1000, 0x1000}}));
  EXPECT_EQ(PiecesOf(mappings, {{0x202000, 0x300000}, {0x300000, 0x200000}, {0, 0x1000}}), List());
  EXPECT_EQ(PiecesOf({}, {{0, ~0UL}}), List());
}

INSTANTIATE_TEST_SUITE_P(Both, Pagemap, testing::Values(PagemapMethod::kScan, PagemapMethod::kRead),
                         [](const auto& method) {
                           return method.param == PagemapMethod::kScan ? "Scan" : "Read";
                         });

}  // namespace
}  // namespace tinderbox::sys
