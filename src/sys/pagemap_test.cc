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

INSTANTIATE_TEST_SUITE_P(Both, Pagemap, testing::Values(PagemapMethod::kScan, PagemapMethod::kRead),
                         [](const auto& method) {
                           return method.param == PagemapMethod::kScan ? "Scan" : "Read";
                         });

}  // namespace
}  // namespace tinderbox::sys
