// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/split.h"
#include "sys/file.h"
#include "vmm/program_files.h"

namespace tinderbox::vmm {

using base::Code;
using base::Result;

namespace {

constexpr std::size_t kMaxHeaders = 1 << 20;
constexpr std::size_t kMaxStrings = 64 << 20;

class ElfFile {
 public:
  explicit ElfFile(const std::string& path) : path_(path) {}

  Result<ElfNeeds> Read() {
    file_ = TRY(sys::Open(path_, O_RDONLY | O_NONBLOCK));
    Elf64_Ehdr header{};
    TRY(Get(&header, sizeof header, 0));
    if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_phentsize != sizeof(Elf64_Phdr))
      return Bad("it is not a 64-bit ELF file");
    ElfNeeds needs;
    needs.machine = header.e_machine;
    parts_.resize(header.e_phnum);
    TRY(Get(parts_.data(), parts_.size() * sizeof(Elf64_Phdr), header.e_phoff));
    for (const Elf64_Phdr& part : parts_) {
      if (part.p_type == PT_INTERP) {
        needs.loader = TRY(GetString(part.p_offset, part.p_filesz, 4096));
        needs.loader = needs.loader.c_str();  // without its NUL
      }
      if (part.p_type == PT_DYNAMIC) TRY(ReadDynamic(part, needs));
    }
    return needs;
  }

 private:
  std::unexpected<base::Error> Bad(std::string_view why) const {
    return base::Fail(Code::kInvalidArgument, fmt::format("read '{}': {}", path_, why));
  }
  Result<> Get(void* to, std::size_t size, std::uint64_t offset) const {
    if (offset > INT64_MAX) return Bad("it is damaged");
    for (std::size_t done = 0; done < size;) {
      const ssize_t got = ::pread(file_.get(), static_cast<char*>(to) + done, size - done,
                                  static_cast<off_t>(offset + done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return base::FailErrno(errno, fmt::format("read '{}'", path_));
      if (got == 0) return Bad("it ends early");
      done += static_cast<std::size_t>(got);
    }
    return {};
  }
  Result<std::string> GetString(std::uint64_t offset, std::uint64_t size, std::size_t max) const {
    if (size > max) return Bad("a part of it is too large");
    std::string text(size, '\0');
    TRY(Get(text.data(), text.size(), offset));
    return text;
  }
  // Where the file holds what is at `address` of the loaded program.
  Result<std::uint64_t> OffsetOf(std::uint64_t address) const {
    for (const Elf64_Phdr& part : parts_) {
      if (part.p_type == PT_LOAD && address >= part.p_vaddr &&
          address - part.p_vaddr < part.p_filesz)
        return part.p_offset + (address - part.p_vaddr);
    }
    return Bad("it is damaged");
  }
  Result<> ReadDynamic(const Elf64_Phdr& part, ElfNeeds& needs) const {
    if (part.p_filesz > kMaxHeaders) return Bad("a part of it is too large");
    std::vector<Elf64_Dyn> entries(part.p_filesz / sizeof(Elf64_Dyn));
    TRY(Get(entries.data(), entries.size() * sizeof(Elf64_Dyn), part.p_offset));
    entries.erase(std::ranges::find(entries, DT_NULL, &Elf64_Dyn::d_tag), entries.end());
    const auto value = [&entries](std::int64_t tag) -> std::uint64_t {
      const auto found = std::ranges::find(entries, tag, &Elf64_Dyn::d_tag);
      return found == entries.end() ? 0 : found->d_un.d_val;
    };
    if (value(DT_STRTAB) == 0) return {};
    const std::uint64_t at_strings = TRY(OffsetOf(value(DT_STRTAB)));
    const std::string strings = TRY(GetString(at_strings, value(DT_STRSZ), kMaxStrings));
    const auto text = [&strings](std::uint64_t at) {
      return at < strings.size() ? std::string(strings.c_str() + at) : std::string();
    };
    for (const Elf64_Dyn& entry : entries) {
      if (entry.d_tag == DT_NEEDED) needs.libraries.push_back(text(entry.d_un.d_val));
    }
    const std::uint64_t folders = value(value(DT_RUNPATH) != 0 ? DT_RUNPATH : DT_RPATH);
    if (folders == 0) return {};
    for (const std::string_view folder : base::Split(text(folders), ':'))
      needs.folders.emplace_back(folder);
    return {};
  }

  const std::string& path_;
  sys::UniqueFd file_;
  std::vector<Elf64_Phdr> parts_;
};

}  // namespace

Result<ElfNeeds> ReadElfNeeds(const std::string& path) { return ElfFile(path).Read(); }

}  // namespace tinderbox::vmm
