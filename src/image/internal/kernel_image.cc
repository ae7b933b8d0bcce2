// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/kernel_image.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <array>
#include <cstdint>
#include <cstring>

#include "image/internal/decompress.h"
#include "sys/file.h"

namespace tinderbox::image {

using base::Code;
using base::Fail;
using base::Result;
using namespace std::string_view_literals;

namespace {

// Offsets into an x86 boot image (Documentation/x86/boot.rst).
constexpr std::size_t kSetupSects = 0x1f1;
constexpr std::size_t kBootFlag = 0x1fe;
constexpr std::size_t kHeaderMagic = 0x202;
constexpr std::size_t kProtocol = 0x206;
constexpr std::size_t kPayloadOffset = 0x248;
constexpr std::size_t kPayloadLength = 0x24c;
constexpr std::size_t kHeaderEnd = 0x250;
constexpr std::uint16_t kFirstProtocolWithPayload = 0x208;

constexpr std::size_t kMaxProgramHeaders = 64;

// Reads an integer that may not be aligned; the caller has checked the bounds.
template <typename T>
T ReadAt(std::string_view data, std::size_t offset) {
  T value{};
  std::memcpy(&value, data.data() + offset, sizeof value);
  return value;
}

bool IsElf(std::string_view data) { return data.starts_with("\177ELF"sv); }

Result<std::string_view> Payload(std::string_view image) {
  if (image.size() < kHeaderEnd || ReadAt<std::uint16_t>(image, kBootFlag) != 0xaa55 ||
      image.substr(kHeaderMagic, 4) != "HdrS"sv) {
    return Fail(Code::kInvalidArgument, "read kernel: neither a bzImage nor an ELF program");
  }
  const auto protocol = ReadAt<std::uint16_t>(image, kProtocol);
  if (protocol < kFirstProtocolWithPayload) {
    return Fail(Code::kInvalidArgument,
                fmt::format("read kernel: boot protocol {}.{:02} is too old (2.08 is needed)",
                            protocol >> 8, protocol & 0xff));
  }
  const auto sectors = ReadAt<std::uint8_t>(image, kSetupSects);
  const std::uint64_t setup = (sectors == 0 ? 4u : sectors) * 512u + 512u;
  const std::uint64_t begin = setup + ReadAt<std::uint32_t>(image, kPayloadOffset);
  const std::uint64_t length = ReadAt<std::uint32_t>(image, kPayloadLength);
  if (length == 0 || begin >= image.size() || length > image.size() - begin) {
    return Fail(Code::kDataLoss,
                fmt::format("read kernel: its payload ({} bytes at {}) is not within its {} bytes: "
                            "it is cut off or damaged",
                            length, begin, image.size()));
  }
  return image.substr(begin, length);
}

// `head` holds the ELF header and the program headers; `size` is the whole file's.
Result<> CheckHeaders(std::string_view head, std::uint64_t size) {
  if (!IsElf(head)) return Fail(Code::kInvalidArgument, "read kernel: no ELF program");
  if (head.size() < sizeof(Elf64_Ehdr)) {
    return Fail(Code::kDataLoss, "read kernel: cut off within its ELF header");
  }
  const auto elf = ReadAt<Elf64_Ehdr>(head, 0);
  if (elf.e_ident[EI_CLASS] != ELFCLASS64 || elf.e_ident[EI_DATA] != ELFDATA2LSB ||
      elf.e_machine != EM_X86_64 || elf.e_type != ET_EXEC) {
    return Fail(Code::kInvalidArgument, "read kernel: no x86-64 ELF executable");
  }
  if (elf.e_phentsize != sizeof(Elf64_Phdr) || elf.e_phnum == 0 ||
      elf.e_phnum > kMaxProgramHeaders || elf.e_phoff > head.size() ||
      elf.e_phnum * sizeof(Elf64_Phdr) > head.size() - elf.e_phoff) {
    return Fail(Code::kDataLoss, "read kernel: bad ELF program headers");
  }
  bool loads = false;
  for (std::size_t i = 0; i < elf.e_phnum; ++i) {
    const auto segment = ReadAt<Elf64_Phdr>(head, elf.e_phoff + i * sizeof(Elf64_Phdr));
    if (segment.p_type != PT_LOAD) continue;
    loads = true;
    if (segment.p_offset > size || segment.p_filesz > size - segment.p_offset ||
        segment.p_filesz > segment.p_memsz) {
      return Fail(
          Code::kDataLoss,
          fmt::format("read kernel: segment {} is not within its {} bytes: it is cut off or "
                      "damaged",
                      i, size));
    }
  }
  if (!loads) return Fail(Code::kInvalidArgument, "read kernel: nothing in it to load");
  return {};
}

}  // namespace

Result<std::string> ExtractVmlinux(std::string_view image) {
  if (IsElf(image)) {
    TRY(CheckVmlinux(image));
    return std::string(image);
  }
  const auto payload = TRY(Payload(image));
  const auto compression = DetectCompression(payload);
  if (compression == Compression::kNone && !IsElf(payload)) {
    return std::unexpected(
        base::Error(Code::kUnimplemented, "read kernel: its payload's compression is not known")
            .WithRemedy("Use a kernel compressed by gzip, xz, zstd or lz4, or an ELF vmlinux."));
  }
  auto vmlinux = TRY_CTX(Decompress(compression, payload, kMaxKernelBytes), "read kernel");
  TRY(CheckVmlinux(vmlinux));
  return vmlinux;
}

Result<> CheckVmlinux(std::string_view elf) { return CheckHeaders(elf, elf.size()); }

Result<> CheckVmlinuxFile(const std::string& path) {
  const auto fd = TRY(sys::Open(path, O_RDONLY));
  struct stat st{};
  if (::fstat(fd.get(), &st) != 0) return base::FailErrno(errno, fmt::format("stat '{}'", path));
  std::array<char, 8192> head;
  const auto n = ::pread(fd.get(), head.data(), head.size(), 0);
  if (n < 0) return base::FailErrno(errno, fmt::format("read '{}'", path));
  TRY_CTX(CheckHeaders(std::string_view(head.data(), static_cast<std::size_t>(n)),
                       static_cast<std::uint64_t>(st.st_size)),
          fmt::format("'{}'", path));
  return {};
}

}  // namespace tinderbox::image
