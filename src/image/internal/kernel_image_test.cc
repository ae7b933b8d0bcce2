// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/kernel_image.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "image/internal/decompress.h"
#include "image/internal/test_files.h"
#include "sys/file.h"

namespace tinderbox::image {
namespace {

using base::Code;
using testing::Compress;
using testing::MakeBzImage;
using testing::MakeVmlinux;
using testing::Noise;

class KernelImageTest : public ::testing::TestWithParam<Compression> {};

INSTANTIATE_TEST_SUITE_P(Compressions, KernelImageTest,
                         ::testing::Values(Compression::kNone, Compression::kGzip, Compression::kXz,
                                           Compression::kZstd, Compression::kLz4Legacy),
                         [](const auto& test) { return std::string(CompressionName(test.param)); });

TEST_P(KernelImageTest, GivesBackTheKernelThatWasPacked) {
  const auto vmlinux = MakeVmlinux(Noise(300'000));
  const auto extracted = ExtractVmlinux(MakeBzImage(Compress(GetParam(), vmlinux)));
  ASSERT_TRUE(extracted) << extracted.error().ToString();
  EXPECT_EQ(*extracted, vmlinux);
}

TEST_P(KernelImageTest, GivesBackKernelsOfSeveralBlocks) {
  std::string code;
  while (code.size() < 17 << 20) code += Noise(100'000);
  const auto vmlinux = MakeVmlinux(code);
  const auto extracted = ExtractVmlinux(MakeBzImage(Compress(GetParam(), vmlinux)));
  ASSERT_TRUE(extracted) << extracted.error().ToString();
  EXPECT_TRUE(*extracted == vmlinux);
}

TEST_P(KernelImageTest, RefusesImagesThatAreCutOffAnywhere) {
  const auto payload = Compress(GetParam(), MakeVmlinux(Noise(20'000)));
  const auto image = MakeBzImage(payload);
  const std::size_t end = image.size() - std::strlen("trailing code");
  for (std::size_t size = 0; size < end; size += 1 + size / 8) {
    const auto extracted = ExtractVmlinux(std::string_view(image).substr(0, size));
    ASSERT_FALSE(extracted) << size << " of " << image.size();
    EXPECT_TRUE(extracted.error().code() == Code::kDataLoss ||
                extracted.error().code() == Code::kInvalidArgument);
  }
}

TEST_P(KernelImageTest, RefusesPayloadsThatAreCutOffAnywhere) {
  const auto payload = Compress(GetParam(), MakeVmlinux(Noise(20'000)));
  // The last bytes are an appended size, or a checksum that only some formats have.
  for (std::size_t size = 0; size + 16 < payload.size(); size += 1 + size / 4) {
    EXPECT_FALSE(ExtractVmlinux(MakeBzImage(payload.substr(0, size)))) << size;
  }
}

TEST_P(KernelImageTest, SurvivesDamageAnywhere) {
  const auto vmlinux = MakeVmlinux(Noise(20'000));
  const auto image = MakeBzImage(Compress(GetParam(), vmlinux));
  for (std::size_t at = 0; at < image.size(); at += 1 + at / 16) {
    auto damaged = image;
    damaged[at] = static_cast<char>(damaged[at] ^ 0xff);
    // Some bytes do not matter, and not all formats have checksums; nothing may crash or hang.
    const auto extracted = ExtractVmlinux(damaged);
    if (extracted) {
      EXPECT_TRUE(CheckVmlinux(*extracted));
    }
  }
}

TEST(KernelImageBasicsTest, TakesAnElfKernelAsItIs) {
  const auto vmlinux = MakeVmlinux("code");
  EXPECT_EQ(ExtractVmlinux(vmlinux).value(), vmlinux);
}

TEST(KernelImageBasicsTest, SaysThatOtherFilesAreNoKernels) {
  for (const std::string& file :
       {std::string(), std::string("#!/bin/sh\n"), std::string(4096, '\0'), Noise(100'000)}) {
    const auto extracted = ExtractVmlinux(file);
    ASSERT_FALSE(extracted);
    EXPECT_EQ(extracted.error().code(), Code::kInvalidArgument);
    EXPECT_EQ(extracted.error().message(), "read kernel: neither a bzImage nor an ELF program");
  }
}

TEST(KernelImageBasicsTest, RefusesElfFilesThatCannotBeBooted) {
  const auto with = [](auto change) {
    auto vmlinux = MakeVmlinux("code");
    Elf64_Ehdr header;
    std::memcpy(&header, vmlinux.data(), sizeof header);
    change(header);
    std::memcpy(vmlinux.data(), &header, sizeof header);
    return CheckVmlinux(vmlinux);
  };
  EXPECT_TRUE(with([](Elf64_Ehdr&) {}));
  EXPECT_FALSE(with([](Elf64_Ehdr& h) { h.e_machine = EM_AARCH64; }));
  EXPECT_FALSE(with([](Elf64_Ehdr& h) { h.e_type = ET_DYN; }));
  EXPECT_FALSE(with([](Elf64_Ehdr& h) { h.e_ident[EI_CLASS] = ELFCLASS32; }));
  EXPECT_FALSE(with([](Elf64_Ehdr& h) { h.e_phnum = 0; }));
  EXPECT_FALSE(with([](Elf64_Ehdr& h) { h.e_phnum = 0xffff; }));
  EXPECT_FALSE(with([](Elf64_Ehdr& h) { h.e_phoff = ~0ull; }));
  EXPECT_FALSE(with([](Elf64_Ehdr& h) { h.e_phoff = 1 << 20; }));
}

TEST(KernelImageBasicsTest, RefusesSegmentsOutsideTheFile) {
  auto vmlinux = MakeVmlinux(std::string(1000, 'c'));
  vmlinux.pop_back();
  const auto checked = CheckVmlinux(vmlinux);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().code(), Code::kDataLoss);
}

TEST(KernelImageBasicsTest, RefusesTooOldABootProtocol) {
  auto image = MakeBzImage(MakeVmlinux("code"));
  image[0x206] = 0x07;
  image[0x207] = 0x02;
  EXPECT_EQ(ExtractVmlinux(image).error().code(), Code::kInvalidArgument);
}

TEST(KernelImageBasicsTest, SaysThatACompressionIsNotKnown) {
  const auto extracted = ExtractVmlinux(MakeBzImage("BZh91AY&SY and so on"));
  ASSERT_FALSE(extracted);
  EXPECT_EQ(extracted.error().code(), Code::kUnimplemented);
  EXPECT_FALSE(extracted.error().remedy().empty());
}

TEST(KernelImageBasicsTest, ChecksFiles) {
  const testing::TempDir dir;
  const auto path = dir.path() + "/vmlinux";
  ASSERT_TRUE(sys::WriteFileAtomic(path, MakeVmlinux(std::string(1 << 20, 'c'))));
  EXPECT_TRUE(CheckVmlinuxFile(path));
  ASSERT_EQ(::truncate(path.c_str(), 1 << 19), 0);
  EXPECT_EQ(CheckVmlinuxFile(path).error().code(), Code::kDataLoss);
  EXPECT_EQ(CheckVmlinuxFile(dir.path() + "/none").error().code(), Code::kNotFound);
}

TEST(DecompressTest, StopsAtTheLimit) {
  const std::string zeros(50 << 20, '\0');
  for (const auto compression : {Compression::kGzip, Compression::kXz, Compression::kZstd,
                                 Compression::kLz4Legacy, Compression::kNone}) {
    const auto out = Decompress(compression, Compress(compression, zeros), 1 << 20);
    ASSERT_FALSE(out) << CompressionName(compression);
    EXPECT_EQ(out.error().code(), Code::kResourceExhausted);
  }
}

}  // namespace
}  // namespace tinderbox::image
