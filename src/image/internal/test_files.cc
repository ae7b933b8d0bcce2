// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/test_files.h"

#include <archive.h>
#include <archive_entry.h>
#include <elf.h>
#include <lz4.h>
#include <lzma.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <stdexcept>

#include "sys/file.h"
#include "sys/mount_table.h"

namespace tinderbox::image::testing {

namespace {

void Check(bool condition, const char* what) {
  if (!condition) throw std::runtime_error(what);
}

template <typename T>
void Put(std::string& data, std::size_t offset, const T& value) {
  if (data.size() < offset + sizeof value) data.resize(offset + sizeof value);
  std::memcpy(data.data() + offset, std::addressof(value), sizeof value);
}

void AppendSize(std::string& data, std::size_t size) {
  Put(data, data.size(), static_cast<std::uint32_t>(size));
}

std::string CompressGzip(std::string_view data) {
  z_stream stream{};
  Check(::deflateInit2(&stream, 1, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK,
        "deflateInit2");
  std::string out(::deflateBound(&stream, data.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  Check(::deflate(&stream, Z_FINISH) == Z_STREAM_END, "deflate");
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  return out;
}

std::string CompressXz(std::string_view data) {
  std::string out(::lzma_stream_buffer_bound(data.size()), '\0');
  std::size_t size = 0;
  Check(::lzma_easy_buffer_encode(
            6, LZMA_CHECK_CRC32, nullptr, reinterpret_cast<const std::uint8_t*>(data.data()),
            data.size(), reinterpret_cast<std::uint8_t*>(out.data()), &size, out.size()) == LZMA_OK,
        "xz");
  out.resize(size);
  AppendSize(out, data.size());
  return out;
}

std::string CompressZstd(std::string_view data) {
  std::string out(::ZSTD_compressBound(data.size()), '\0');
  const auto size = ::ZSTD_compress(out.data(), out.size(), data.data(), data.size(), 3);
  Check(::ZSTD_isError(size) == 0, "zstd");
  out.resize(size);
  AppendSize(out, data.size());
  return out;
}

std::string CompressLz4(std::string_view data) {
  constexpr std::size_t kBlock = 8 << 20;
  std::string out("\x02\x21\x4c\x18", 4);
  for (std::size_t at = 0; at < data.size(); at += kBlock) {
    const auto block = data.substr(at, kBlock);
    std::string packed(static_cast<std::size_t>(::LZ4_compressBound(static_cast<int>(kBlock))),
                       '\0');
    const int size =
        ::LZ4_compress_default(block.data(), packed.data(), static_cast<int>(block.size()),
                               static_cast<int>(packed.size()));
    Check(size > 0, "lz4");
    AppendSize(out, static_cast<std::size_t>(size));
    out.append(packed.data(), static_cast<std::size_t>(size));
  }
  AppendSize(out, data.size());
  return out;
}

using Writer = std::unique_ptr<archive, int (*)(archive*)>;

void AddEntry(archive* writer, const std::string& path, std::string_view content) {
  const std::unique_ptr<archive_entry, void (*)(archive_entry*)> entry(::archive_entry_new(),
                                                                       ::archive_entry_free);
  ::archive_entry_set_pathname(entry.get(), path.c_str());
  ::archive_entry_set_size(entry.get(), static_cast<la_int64_t>(content.size()));
  ::archive_entry_set_filetype(entry.get(), S_IFREG);
  ::archive_entry_set_perm(entry.get(), 0644);
  Check(::archive_write_header(writer, entry.get()) == ARCHIVE_OK, "archive header");
  Check(::archive_write_data(writer, content.data(), content.size()) ==
            static_cast<la_ssize_t>(content.size()),
        "archive data");
}

}  // namespace

TempDir::TempDir() {
  std::string path = "/tmp/tinderbox-image-XXXXXX";
  Check(::mkdtemp(path.data()) != nullptr, "mkdtemp");
  path_ = path;
}

TempDir::~TempDir() {
  static_cast<void>(sys::UnmountBelow(path_));
  static_cast<void>(sys::RemoveTree(path_));
}

std::string MakeVmlinux(std::string_view payload) {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_ident[EI_VERSION] = EV_CURRENT;
  header.e_type = ET_EXEC;
  header.e_machine = EM_X86_64;
  header.e_phoff = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 1;
  Elf64_Phdr segment{};
  segment.p_type = PT_LOAD;
  segment.p_offset = sizeof header + sizeof segment;
  segment.p_filesz = payload.size();
  segment.p_memsz = payload.size() + 4096;
  std::string elf;
  Put(elf, 0, header);
  Put(elf, sizeof header, segment);
  elf.append(payload);
  return elf;
}

std::string Compress(Compression compression, std::string_view data) {
  switch (compression) {
    case Compression::kNone: return std::string(data);
    case Compression::kGzip: return CompressGzip(data);
    case Compression::kXz: return CompressXz(data);
    case Compression::kZstd: return CompressZstd(data);
    case Compression::kLz4Legacy: return CompressLz4(data);
  }
  return {};
}

std::string MakeBzImage(std::string_view payload) {
  constexpr std::uint8_t kSetupSectors = 3;
  std::string image((kSetupSectors + 1) * 512, '\0');
  Put(image, 0x1f1, kSetupSectors);
  Put(image, 0x1fe, std::uint16_t{0xaa55});
  image.replace(0x202, 4, "HdrS");
  Put(image, 0x206, std::uint16_t{0x20f});
  Put(image, 0x248, std::uint32_t{16});  // the decompressor's code comes before the payload
  Put(image, 0x24c, static_cast<std::uint32_t>(payload.size()));
  image.append(16, '\x90');
  image.append(payload);
  return image + "trailing code";
}

std::string MakeModule(std::string_view depends) {
  using namespace std::string_literals;
  const std::string info = "license=GPL\0depends="s + std::string(depends) + "\0name=x\0"s;
  const std::string names = "\0.modinfo\0.shstrtab\0"s;
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_type = ET_REL;
  header.e_shoff = sizeof header;
  header.e_shentsize = sizeof(Elf64_Shdr);
  header.e_shnum = 3;
  header.e_shstrndx = 2;
  Elf64_Shdr sections[3] = {};
  sections[1].sh_name = 1;
  sections[1].sh_offset = sizeof header + sizeof sections;
  sections[1].sh_size = info.size();
  sections[2].sh_name = 10;
  sections[2].sh_offset = sections[1].sh_offset + info.size();
  sections[2].sh_size = names.size();
  std::string elf;
  Put(elf, 0, header);
  Put(elf, sizeof header, sections);
  return elf + info + names;
}

std::string MakeDeb(const std::vector<std::pair<std::string, std::string>>& files) {
  std::string data(16 << 20, '\0');
  std::size_t used = 0;
  const auto open = [&](archive* writer) {
    Check(::archive_write_open_memory(writer, data.data(), data.size(), &used) == ARCHIVE_OK,
          "archive open");
  };
  {
    const Writer tar(::archive_write_new(), ::archive_write_free);
    ::archive_write_set_format_gnutar(tar.get());
    ::archive_write_add_filter_xz(tar.get());
    open(tar.get());
    for (const auto& [path, content] : files) AddEntry(tar.get(), "./" + path, content);
    Check(::archive_write_close(tar.get()) == ARCHIVE_OK, "tar");
  }
  const std::string tar_bytes = data.substr(0, used);
  const Writer deb(::archive_write_new(), ::archive_write_free);
  ::archive_write_set_format_ar_bsd(deb.get());
  open(deb.get());
  AddEntry(deb.get(), "debian-binary", "2.0\n");
  AddEntry(deb.get(), "control.tar.xz", "not read");
  AddEntry(deb.get(), "data.tar.xz", tar_bytes);
  Check(::archive_write_close(deb.get()) == ARCHIVE_OK, "ar");
  data.resize(used);
  return data;
}

std::string Noise(std::size_t bytes) {
  std::minstd_rand random(1);
  std::string noise(bytes, '\0');
  for (auto& c : noise) c = static_cast<char>(random() % 7);
  return noise;
}

}  // namespace tinderbox::image::testing
