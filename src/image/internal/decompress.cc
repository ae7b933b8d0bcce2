// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "image/internal/decompress.h"

#include <fmt/format.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

namespace tinderbox::image {

using base::Code;
using base::Fail;
using base::Result;
using namespace std::string_view_literals;

namespace {

constexpr std::size_t kChunk = 1 << 20;

struct Magic {
  std::string_view bytes;
  Compression compression;
  std::string_view name;
};

constexpr std::array kMagics = {
    Magic{"\x1f\x8b\x08"sv, Compression::kGzip, "gzip"},
    Magic{"\xfd"
          "7zXZ\0"sv,
          Compression::kXz, "xz"},
    Magic{"\x28\xb5\x2f\xfd"sv, Compression::kZstd, "zstd"},
    Magic{"\x02\x21\x4c\x18"sv, Compression::kLz4Legacy, "lz4"},
};

base::Error Damaged(std::string_view format, std::string_view why) {
  return {Code::kDataLoss, fmt::format("decompress {} data: {}", format, why)};
}

Result<> CheckSize(std::size_t size, std::size_t max) {
  if (size <= max) return {};
  return Fail(Code::kResourceExhausted, fmt::format("decompress: more than {} bytes", max));
}

// Grows `out` by one chunk and returns where that begins.
std::size_t Grow(std::string& out) {
  const std::size_t begin = out.size();
  out.resize(begin + kChunk);
  return begin;
}

Result<std::string> Gunzip(std::string_view data, std::size_t max) {
  z_stream stream{};
  if (::inflateInit2(&stream, MAX_WBITS + 16) != Z_OK) {
    return Fail(Code::kResourceExhausted, "decompress gzip data: out of memory");
  }
  const std::unique_ptr<z_stream, int (*)(z_stream*)> owner(&stream, ::inflateEnd);
  if (data.size() > UINT32_MAX) return std::unexpected(Damaged("gzip", "too long"));
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  std::string out;
  for (;;) {
    const std::size_t begin = Grow(out);
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + begin);
    stream.avail_out = kChunk;
    const int status = ::inflate(&stream, Z_NO_FLUSH);
    out.resize(begin + kChunk - stream.avail_out);
    TRY(CheckSize(out.size(), max));
    if (status == Z_STREAM_END) return out;
    if (status == Z_BUF_ERROR || (status == Z_OK && stream.avail_in == 0 && stream.avail_out > 0)) {
      return std::unexpected(Damaged("gzip", "it is cut off"));
    }
    if (status != Z_OK) {
      return std::unexpected(Damaged("gzip", stream.msg != nullptr ? stream.msg : "damaged"));
    }
  }
}

Result<std::string> Unxz(std::string_view data, std::size_t max) {
  lzma_stream stream = LZMA_STREAM_INIT;
  constexpr std::uint64_t kMemory = 512ull << 20;
  if (::lzma_stream_decoder(&stream, kMemory, 0) != LZMA_OK) {
    return Fail(Code::kResourceExhausted, "decompress xz data: out of memory");
  }
  const std::unique_ptr<lzma_stream, void (*)(lzma_stream*)> owner(&stream, ::lzma_end);
  stream.next_in = reinterpret_cast<const std::uint8_t*>(data.data());
  stream.avail_in = data.size();
  std::string out;
  for (;;) {
    const std::size_t begin = Grow(out);
    stream.next_out = reinterpret_cast<std::uint8_t*>(out.data() + begin);
    stream.avail_out = kChunk;
    const lzma_ret status = ::lzma_code(&stream, LZMA_RUN);
    out.resize(begin + kChunk - stream.avail_out);
    TRY(CheckSize(out.size(), max));
    if (status == LZMA_STREAM_END) return out;
    if (status == LZMA_BUF_ERROR ||
        (status == LZMA_OK && stream.avail_in == 0 && stream.avail_out > 0)) {
      return std::unexpected(Damaged("xz", "it is cut off"));
    }
    if (status != LZMA_OK) {
      return std::unexpected(Damaged("xz", fmt::format("liblzma error {}", int{status})));
    }
  }
}

Result<std::string> Unzstd(std::string_view data, std::size_t max) {
  const std::unique_ptr<ZSTD_DStream, std::size_t (*)(ZSTD_DStream*)> stream(::ZSTD_createDStream(),
                                                                             ::ZSTD_freeDStream);
  if (!stream) return Fail(Code::kResourceExhausted, "decompress zstd data: out of memory");
  // Kernels are compressed with the widest window (--ultra -22: 128 MiB).
  ::ZSTD_DCtx_setParameter(stream.get(), ZSTD_d_windowLogMax, 27);
  ZSTD_inBuffer in{data.data(), data.size(), 0};
  std::string out;
  for (;;) {
    const std::size_t begin = Grow(out);
    ZSTD_outBuffer chunk{out.data() + begin, kChunk, 0};
    const std::size_t left = ::ZSTD_decompressStream(stream.get(), &chunk, &in);
    out.resize(begin + chunk.pos);
    if (::ZSTD_isError(left) != 0) {
      return std::unexpected(Damaged("zstd", ::ZSTD_getErrorName(left)));
    }
    TRY(CheckSize(out.size(), max));
    if (left == 0) return out;
    if (in.pos == in.size && chunk.pos < chunk.size) {
      return std::unexpected(Damaged("zstd", "it is cut off"));
    }
  }
}

// The "legacy" frame that kernels use: magic, then blocks of {compressed size, data}, each of 8 MiB
// decompressed but the last. The end is not marked; the kernel's build appends the size of all.
Result<std::string> Unlz4(std::string_view data, std::size_t max) {
  constexpr std::size_t kBlock = 8 << 20;
  data.remove_prefix(4);
  std::string out;
  std::vector<char> block(kBlock);
  const auto read32 = [&] {
    std::uint32_t value = 0;
    std::memcpy(&value, data.data(), sizeof value);
    return value;
  };
  while (data.size() >= 4) {
    const std::uint32_t size = read32();
    // Four last bytes cannot be a block: they are the appended size.
    if (data.size() == 4) {
      if (size != static_cast<std::uint32_t>(out.size())) {
        return std::unexpected(Damaged("lz4", "the size at its end is another"));
      }
      return out;
    }
    data.remove_prefix(4);
    if (size > data.size()) return std::unexpected(Damaged("lz4", "it is cut off"));
    const int n = ::LZ4_decompress_safe(data.data(), block.data(), static_cast<int>(size),
                                        static_cast<int>(kBlock));
    if (n <= 0) return std::unexpected(Damaged("lz4", "damaged block"));
    out.append(block.data(), static_cast<std::size_t>(n));
    TRY(CheckSize(out.size(), max));
    data.remove_prefix(size);
  }
  if (!data.empty() || out.empty()) return std::unexpected(Damaged("lz4", "it is cut off"));
  return out;
}

}  // namespace

Compression DetectCompression(std::string_view data) {
  for (const auto& magic : kMagics) {
    if (data.starts_with(magic.bytes)) return magic.compression;
  }
  return Compression::kNone;
}

std::string_view CompressionName(Compression compression) {
  for (const auto& magic : kMagics) {
    if (magic.compression == compression) return magic.name;
  }
  return "no";
}

Result<std::string> Decompress(Compression compression, std::string_view data, std::size_t max) {
  switch (compression) {
    case Compression::kNone: TRY(CheckSize(data.size(), max)); return std::string(data);
    case Compression::kGzip: return Gunzip(data, max);
    case Compression::kXz: return Unxz(data, max);
    case Compression::kZstd: return Unzstd(data, max);
    case Compression::kLz4Legacy: return Unlz4(data, max);
  }
  return Fail(Code::kInternal, "decompress: unknown format");
}

}  // namespace tinderbox::image
