// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <zlib.h>

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace tinderbox::agent {

// True if gzip makes data like `sample` smaller by an eighth or more.
bool WorthCompressing(std::string_view sample);

// Compresses a stream piece by piece, at the fastest level. Where that saves less than an eighth,
// it stores the data instead, and tries again after some megabytes.
class GzipWriter {
 public:
  GzipWriter();
  ~GzipWriter();
  GzipWriter(const GzipWriter&) = delete;
  GzipWriter& operator=(const GzipWriter&) = delete;

  // Appends to `out` what compressing `data` yields so far; with `last` the stream's end too.
  void Write(std::string_view data, bool last, std::string& out);

 private:
  // Compare input and output after this much input, compressed or stored.
  static constexpr std::size_t kTrial = 256 << 10;
  static constexpr std::size_t kStored = 4 << 20;

  void SetLevel(int level, std::string& out);

  z_stream stream_{};
  bool storing_ = false;
  std::size_t taken_ = 0;  // bytes in and out since the last comparison
  std::size_t given_ = 0;
};

// Decompresses a stream, concatenated members included. What it yields is given out in pieces of at
// most 64 KiB, so that no input, however it was made, grows in memory.
class GzipReader {
 public:
  using Sink = std::function<base::Result<>(std::string_view)>;

  GzipReader();
  ~GzipReader();
  GzipReader(const GzipReader&) = delete;
  GzipReader& operator=(const GzipReader&) = delete;

  // kInvalidArgument for data that is not gzip; errors of the sink are passed on.
  base::Result<> Feed(std::string_view data, const Sink& sink);
  // True where the stream may end here.
  bool finished() const { return finished_; }

 private:
  z_stream stream_{};
  bool finished_ = true;
  std::string buffer_;
};

// What to send to a client with this Accept-Encoding: "gzip", "identity", or no value where it
// takes neither. gzip is chosen where it is named (or "*") and not less welcome than identity.
std::optional<std::string_view> ChooseEncoding(std::optional<std::string_view> accept_encoding);

// False if the client refuses an answer as it is: "identity;q=0", or "*;q=0" without identity.
bool AcceptsIdentity(std::optional<std::string_view> accept_encoding);

}  // namespace tinderbox::agent
