// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The initramfs: whatever names and contents go in, the same come out of another implementation's
// reader, and nothing lies outside.
#include <archive.h>
#include <archive_entry.h>

#include <map>
#include <memory>
#include <string>

#include "image/internal/cpio.h"
#include "tests/fuzz/fuzz.h"

namespace tinderbox {
namespace {

// An input is a row of lines: "fPATH=CONTENT", "dPATH" or "cPATH".
std::map<std::string, std::string> Fill(image::CpioBuilder& builder, std::string_view input) {
  std::map<std::string, std::string> files;
  while (!input.empty()) {
    const std::string_view line = input.substr(0, input.find('\n'));
    input.remove_prefix(std::min(line.size() + 1, input.size()));
    if (line.empty()) continue;
    const std::size_t equals = std::min(line.find('='), line.size());
    const std::string path(line.substr(1, std::max<std::size_t>(equals, 1) - 1));
    const std::string content(line.substr(std::min(equals + 1, line.size())));
    if (line[0] == 'd') {
      (void)builder.AddDirectory(path, 0755);
    } else if (line[0] == 'c') {
      (void)builder.AddCharDevice(path, 0600, 1, 3);
    } else if (builder.AddFile(path, content, 0644)) {
      fuzz::Require(files.emplace(path, content).second, "no path is taken twice");
    }
  }
  return files;
}

void Compare(const std::string& bytes, std::map<std::string, std::string> files) {
  const std::unique_ptr<archive, int (*)(archive*)> reader(::archive_read_new(),
                                                           ::archive_read_free);
  ::archive_read_support_format_cpio(reader.get());
  fuzz::Require(::archive_read_open_memory(reader.get(), bytes.data(), bytes.size()) == ARCHIVE_OK,
                "the archive can be opened");
  archive_entry* entry = nullptr;
  int status = ARCHIVE_OK;
  while ((status = ::archive_read_next_header(reader.get(), &entry)) == ARCHIVE_OK) {
    const std::string path = ::archive_entry_pathname(entry);
    fuzz::Require(!path.starts_with('/') && ("/" + path + "/").find("/../") == std::string::npos,
                  "no path leads outside");
    if (::archive_entry_filetype(entry) != AE_IFREG) continue;
    const auto file = files.find(path);
    fuzz::Require(file != files.end(), "nothing is there that was not put in");
    std::string content(static_cast<std::size_t>(::archive_entry_size(entry)), '\0');
    (void)::archive_read_data(reader.get(), content.data(), content.size());
    fuzz::Require(content == file->second, "a file keeps its content");
    files.erase(file);
  }
  fuzz::Require(status == ARCHIVE_EOF, "the archive is whole");
  fuzz::Require(files.empty(), "no file is lost");
}

}  // namespace
}  // namespace tinderbox

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tinderbox;
  image::CpioBuilder builder;
  std::map<std::string, std::string> files = Fill(builder, fuzz::Text(data, size));
  Compare(builder.Build(), std::move(files));
  return 0;
}
