// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/module_order.h"

#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/split.h"

namespace tinderbox::image {

using base::Code;
using base::Fail;
using base::Result;
using base::Split;
using namespace std::string_view_literals;

namespace {

// `size` bytes at `offset`, or nothing where they are not all there.
std::optional<std::string_view> Slice(std::string_view data, std::uint64_t offset,
                                      std::uint64_t size) {
  if (offset > data.size() || size > data.size() - offset) return std::nullopt;
  return data.substr(offset, size);
}

template <typename T>
std::optional<T> ReadAt(std::string_view data, std::uint64_t offset) {
  const auto bytes = Slice(data, offset, sizeof(T));
  if (!bytes) return std::nullopt;
  T value{};
  std::memcpy(&value, bytes->data(), sizeof value);
  return value;
}

// The content of ELF section `name`; nothing where there is none, or the file is damaged.
std::optional<std::string_view> FindSection(std::string_view elf, std::string_view name) {
  const auto header = ReadAt<Elf64_Ehdr>(elf, 0);
  if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 ||
      header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_shentsize != sizeof(Elf64_Shdr)) {
    return std::nullopt;
  }
  const auto section = [&](std::size_t index) {
    return ReadAt<Elf64_Shdr>(elf, header->e_shoff + index * sizeof(Elf64_Shdr));
  };
  const auto names_section = section(header->e_shstrndx);
  if (!names_section) return std::nullopt;
  const auto names = Slice(elf, names_section->sh_offset, names_section->sh_size);
  if (!names) return std::nullopt;
  for (std::size_t i = 1; i < header->e_shnum; ++i) {
    const auto candidate = section(i);
    if (!candidate || candidate->sh_name >= names->size()) return std::nullopt;
    const auto candidate_name = names->substr(candidate->sh_name);
    if (candidate_name.substr(0, candidate_name.find('\0')) == name) {
      return Slice(elf, candidate->sh_offset, candidate->sh_size);
    }
  }
  return std::nullopt;
}

class Sorter {
 public:
  Sorter(const std::map<std::string, std::string>& modules, const std::set<std::string>& builtin)
      : modules_(modules), builtin_(builtin) {}

  // Depth first: what `name` needs goes before it.
  Result<> Visit(const std::string& name, const std::string& needed_by) {
    if (builtin_.contains(name) || (std::ranges::find(order_, name) != order_.end())) return {};
    const auto module = modules_.find(name);
    if (module == modules_.end()) {
      return Fail(Code::kNotFound,
                  fmt::format("order kernel modules: '{}', needed by {}, is neither in the package "
                              "nor built into the kernel",
                              name, needed_by));
    }
    if (!visiting_.insert(name).second) {
      return Fail(Code::kDataLoss,
                  fmt::format("order kernel modules: '{}' needs itself in a circle", name));
    }
    for (const auto& dependency :
         TRY_CTX(ModuleDependencies(module->second), fmt::format("module '{}'", name))) {
      TRY(Visit(ModuleName(dependency), fmt::format("'{}'", name)));
    }
    order_.push_back(name);
    return {};
  }

  std::vector<std::string> TakeOrder() { return std::move(order_); }

 private:
  const std::map<std::string, std::string>& modules_;
  const std::set<std::string>& builtin_;
  std::set<std::string> visiting_;
  std::vector<std::string> order_;
};

}  // namespace

std::string ModuleName(std::string_view path) {
  const auto slash = path.rfind('/');
  if (slash != std::string_view::npos) path.remove_prefix(slash + 1);
  std::string name(path.substr(0, path.find(".ko")));
  std::ranges::replace(name, '-', '_');
  return name;
}

Result<std::vector<std::string>> ModuleDependencies(std::string_view elf) {
  const auto info = FindSection(elf, ".modinfo");
  if (!info) return Fail(Code::kDataLoss, "read kernel module: no module, or damaged");
  for (const auto field : Split(*info, '\0')) {
    if (!field.starts_with("depends=")) continue;
    const auto names = Split(field.substr(8), ',');
    return std::vector<std::string>(names.begin(), names.end());
  }
  return std::vector<std::string>();
}

std::set<std::string> ParseBuiltin(std::string_view modules_builtin) {
  std::set<std::string> names;
  for (const auto line : Split(modules_builtin, '\n')) names.insert(ModuleName(line));
  return names;
}

Result<std::vector<std::string>> OrderModules(const std::vector<std::string>& wanted,
                                              const std::map<std::string, std::string>& modules,
                                              const std::set<std::string>& builtin) {
  Sorter sorter(modules, builtin);
  for (const auto& name : wanted) TRY(sorter.Visit(ModuleName(name), "sandboxes"));
  return sorter.TakeOrder();
}

}  // namespace tinderbox::image
