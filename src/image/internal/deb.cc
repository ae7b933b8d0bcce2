// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/deb.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <array>
#include <memory>

namespace tinderbox::image {

using base::Code;
using base::Fail;
using base::Result;

namespace {

using Archive = std::unique_ptr<archive, int (*)(archive*)>;

Archive NewReader() { return {::archive_read_new(), ::archive_read_free}; }

base::Error Damaged(const std::string& path, archive* reader, std::string_view what) {
  const char* why = reader != nullptr ? ::archive_error_string(reader) : nullptr;
  return base::Error(Code::kDataLoss,
                     fmt::format("read package '{}': {}{}{}", path, what,
                                 why != nullptr ? ": " : "", why != nullptr ? why : ""))
      .WithRemedy("The package file is damaged; it is downloaded anew on the next try.");
}

// The outer archive (ar) as the inner one's (tar) source: its current entry, block by block.
struct Member {
  archive* outer;
  std::array<char, 65536> buffer;
};

la_ssize_t ReadMember(archive* inner, void* data, const void** block) {
  auto* member = static_cast<Member*>(data);
  const la_ssize_t n =
      ::archive_read_data(member->outer, member->buffer.data(), member->buffer.size());
  if (n < 0) ::archive_set_error(inner, EIO, "%s", ::archive_error_string(member->outer));
  *block = member->buffer.data();
  return n < 0 ? -1 : n;
}

Result<std::string> ReadEntry(archive* reader, const std::string& path) {
  std::string content;
  std::array<char, 65536> buffer;
  for (;;) {
    const la_ssize_t n = ::archive_read_data(reader, buffer.data(), buffer.size());
    if (n < 0) return std::unexpected(Damaged(path, reader, "damaged"));
    if (n == 0) return content;
    if (content.size() + static_cast<std::size_t>(n) > kMaxDebFile) {
      return Fail(Code::kResourceExhausted, fmt::format("read package '{}': too large", path));
    }
    content.append(buffer.data(), static_cast<std::size_t>(n));
  }
}

Result<> ReadTar(const std::string& path, archive* outer, const DebVisitor& visitor) {
  const Archive reader = NewReader();
  ::archive_read_support_filter_all(reader.get());
  ::archive_read_support_format_tar(reader.get());
  Member member{.outer = outer, .buffer = {}};
  if (::archive_read_open(reader.get(), &member, nullptr, ReadMember, nullptr) != ARCHIVE_OK) {
    return std::unexpected(Damaged(path, reader.get(), "its data cannot be read"));
  }
  for (;;) {
    archive_entry* entry = nullptr;
    const int status = ::archive_read_next_header(reader.get(), &entry);
    if (status == ARCHIVE_EOF) return {};
    if (status != ARCHIVE_OK && status != ARCHIVE_WARN) {
      return std::unexpected(Damaged(path, reader.get(), "damaged"));
    }
    const char* name = ::archive_entry_pathname(entry);
    if (name == nullptr || ::archive_entry_filetype(entry) != S_IFREG) continue;
    std::string_view file = name;
    while (file.starts_with("./") || file.starts_with("/"))
      file.remove_prefix(1 + (file[0] == '.'));
    if (!visitor.wants(file)) continue;
    std::string owned(file);
    auto content = TRY_CTX(ReadEntry(reader.get(), path), fmt::format("file '{}'", owned));
    TRY(visitor.take(std::move(owned), std::move(content)));
  }
}

}  // namespace

Result<> ReadDeb(const std::string& path, const DebVisitor& visitor) {
  const Archive outer = NewReader();
  ::archive_read_support_format_ar(outer.get());
  if (::archive_read_open_filename(outer.get(), path.c_str(), 65536) != ARCHIVE_OK) {
    return std::unexpected(Damaged(path, outer.get(), "no Debian package"));
  }
  for (;;) {
    archive_entry* entry = nullptr;
    const int status = ::archive_read_next_header(outer.get(), &entry);
    if (status == ARCHIVE_EOF) return std::unexpected(Damaged(path, nullptr, "no data in it"));
    if (status != ARCHIVE_OK && status != ARCHIVE_WARN) {
      return std::unexpected(Damaged(path, outer.get(), "no Debian package, or cut off"));
    }
    const char* name = ::archive_entry_pathname(entry);
    if (name != nullptr && std::string_view(name).starts_with("data.tar")) {
      return ReadTar(path, outer.get(), visitor);
    }
  }
}

}  // namespace tinderbox::image
