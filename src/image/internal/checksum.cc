// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/checksum.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>
#include <vector>

#include "sys/file.h"

namespace tinderbox::image {

using base::FailErrno;
using base::Result;

namespace {

constexpr std::size_t kBlock = 64 << 10;

std::string_view Bytes(const std::uint64_t& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

bool IsZero(std::string_view data) {
  // Comparing a block with itself, shifted by one, is the quick way to see that all bytes are
  // alike.
  return data.empty() ||
         (data[0] == 0 && std::memcmp(data.data(), data.data() + 1, data.size() - 1) == 0);
}

// pread(2) until `size` bytes or end of file.
Result<std::size_t> ReadBlock(sys::FdRef file, char* data, std::size_t size, off_t offset) {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t n =
        ::pread(file.get(), data + done, size - done, offset + static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FailErrno(errno, "read for the checksum");
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

constexpr std::array<std::uint32_t, 256> MakeCrcTable() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78u : 0);
    table[i] = crc;
  }
  return table;
}

constexpr auto kCrcTable = MakeCrcTable();

}  // namespace

struct Sha256::Context {
  EVP_MD_CTX* md = ::EVP_MD_CTX_new();
  ~Context() { ::EVP_MD_CTX_free(md); }
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {
  if (context_->md == nullptr || ::EVP_DigestInit_ex(context_->md, ::EVP_sha256(), nullptr) != 1) {
    throw std::bad_alloc();  // Out of memory is the only way in which this fails.
  }
}

Sha256::~Sha256() = default;

void Sha256::Update(std::string_view data) {
  ::EVP_DigestUpdate(context_->md, data.data(), data.size());
}

std::string Sha256::Finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned size = 0;
  ::EVP_DigestFinal_ex(context_->md, digest.data(), &size);
  std::string hex;
  for (unsigned i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

std::string Sha256Hex(std::string_view data) {
  Sha256 sum;
  sum.Update(data);
  return sum.Finish();
}

Result<std::string> Sha256OfFile(const std::string& path) {
  const auto file = TRY(sys::Open(path, O_RDONLY));
  Sha256 sum;
  std::vector<char> block(1 << 20);
  for (off_t offset = 0;;) {
    const auto n = TRY_CTX(ReadBlock(file, block.data(), block.size(), offset), path);
    if (n == 0) return sum.Finish();
    sum.Update({block.data(), n});
    offset += static_cast<off_t>(n);
  }
}

Result<std::string> SparseSum(sys::FdRef file) {
  struct stat st{};
  if (::fstat(file.get(), &st) != 0) return FailErrno(errno, "stat for the checksum");
  Sha256 sum;
  sum.Update(Bytes(static_cast<std::uint64_t>(st.st_size)));
  std::vector<char> block(kBlock);
  off_t next = 0;  // where the first block begins that is not summed yet
  while (next < st.st_size) {
    const off_t data = ::lseek(file.get(), next, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // only a hole is left
    if (data < 0) return FailErrno(errno, "seek for the checksum");
    off_t end = ::lseek(file.get(), data, SEEK_HOLE);
    if (end < 0) return FailErrno(errno, "seek for the checksum");
    for (next = std::max(next, data / off_t{kBlock} * off_t{kBlock}); next < end;
         next += off_t{kBlock}) {
      const std::string_view content(block.data(),
                                     TRY(ReadBlock(file, block.data(), kBlock, next)));
      if (IsZero(content)) continue;
      sum.Update(Bytes(static_cast<std::uint64_t>(next)));
      sum.Update(content);
    }
  }
  return sum.Finish();
}

std::uint32_t Crc32c(std::uint32_t seed, std::string_view data) {
  for (const char c : data) {
    seed = kCrcTable[(seed ^ static_cast<unsigned char>(c)) & 0xff] ^ (seed >> 8);
  }
  return seed;
}

}  // namespace tinderbox::image
