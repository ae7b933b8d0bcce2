// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/checksum.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

#include "image/internal/test_files.h"
#include "sys/file.h"

namespace tinderbox::image {
namespace {

TEST(ChecksumTest, GivesTheKnownSums) {
  EXPECT_EQ(Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Crc32c(~0u, "123456789") ^ ~0u, 0xe3069283u);
}

TEST(ChecksumTest, SumsFilesAsBytes) {
  const testing::TempDir dir;
  const auto path = dir.path() + "/file";
  const auto content = testing::Noise(3'000'000);
  ASSERT_TRUE(sys::WriteFileAtomic(path, content));
  EXPECT_EQ(Sha256OfFile(path).value(), Sha256Hex(content));
}

class SparseSumTest : public ::testing::Test {
 protected:
  // A file of `size` bytes with `data` at some offsets; `zeros`: holes are written out.
  std::string Sum(off_t size, std::initializer_list<std::pair<off_t, std::string>> data,
                  bool zeros = false) {
    const auto file = sys::Open(dir_.path(), O_TMPFILE | O_RDWR, 0600).value();
    EXPECT_EQ(::ftruncate(file.get(), size), 0);
    if (zeros) {
      EXPECT_TRUE(sys::WriteAll(file, std::string(static_cast<std::size_t>(size), '\0')));
    }
    for (const auto& [offset, bytes] : data) {
      EXPECT_EQ(::pwrite(file.get(), bytes.data(), bytes.size(), offset),
                static_cast<ssize_t>(bytes.size()));
    }
    return SparseSum(file).value();
  }
  const testing::TempDir dir_;
};

TEST_F(SparseSumTest, IsTheSameForHolesAndZeros) {
  constexpr off_t kSize = (1 << 20) + 777;
  for (const off_t at : {0, 4096, 65535, 65536, 500'000, (1 << 20)}) {
    EXPECT_EQ(Sum(kSize, {{at, "data"}}), Sum(kSize, {{at, "data"}}, true)) << at;
  }
  EXPECT_EQ(Sum(kSize, {}), Sum(kSize, {}, true));
}

TEST_F(SparseSumTest, ChangesWithEveryChange) {
  const auto sum = Sum(1 << 20, {{70'000, "data"}});
  EXPECT_NE(sum, Sum(1 << 20, {{70'000, "dat"}}));
  EXPECT_NE(sum, Sum(1 << 20, {{70'001, "data"}}));
  EXPECT_NE(sum, Sum((1 << 20) + 1, {{70'000, "data"}}));
  EXPECT_NE(sum, Sum(1 << 20, {{70'000, "data"}, {900'000, "x"}}));
  EXPECT_NE(Sum(0, {}), Sum(1, {}));
}

TEST_F(SparseSumTest, CostsOnlyWhatTheDataCosts) {
  // A terabyte of hole: would take minutes if it were read.
  EXPECT_EQ(Sum(1ll << 40, {{1ll << 39, "data"}}).size(), 64u);
}

}  // namespace
}  // namespace tinderbox::image
