// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/qemu/state_file.h"

#include <boost/crc.hpp>
#include <cstdint>
#include <cstring>

namespace tinderbox::vmm::qemu {

using base::Code;
using base::Error;
using base::Result;

namespace {

struct Header {
  char magic[8] = {'T', 'B', 'Q', 'E', 'M', 'U', '0', '1'};
  std::uint64_t size = 0;
  std::uint32_t crc = 0;
  std::uint32_t header_crc = 0;  // of all above
};

std::uint32_t Crc(const void* data, std::size_t size) {
  boost::crc_32_type crc;
  crc.process_bytes(data, size);
  return crc.checksum();
}

}  // namespace

std::string WrapState(std::string_view state) {
  Header header;
  header.size = state.size();
  header.crc = Crc(state.data(), state.size());
  header.header_crc = Crc(&header, offsetof(Header, header_crc));
  std::string file(reinterpret_cast<const char*>(&header), sizeof header);
  file += state;
  return file;
}

Result<std::string> UnwrapState(std::string_view file) {
  const auto damaged = [](std::string what) {
    return std::unexpected(Error(Code::kDataLoss, "the snapshot's state is damaged: " + what)
                               .WithRemedy("Use another snapshot, or boot from its disk."));
  };
  Header header;
  const Header expected;
  if (file.size() < sizeof header) return damaged("it is too short");
  std::memcpy(&header, file.data(), sizeof header);
  if (std::memcmp(header.magic, expected.magic, sizeof header.magic) != 0)
    return damaged("it is not one of QEMU");
  const std::string_view state = file.substr(sizeof header);
  if (header.header_crc != Crc(&header, offsetof(Header, header_crc)) ||
      header.size != state.size() || header.crc != Crc(state.data(), state.size()))
    return damaged("its checksum is wrong");
  return std::string(state);
}

}  // namespace tinderbox::vmm::qemu
