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

// Compresses a stream piece by piece, at the quickest level: the host is next door.
class GzipWriter {
 public:
  GzipWriter();
  ~GzipWriter();
  GzipWriter(const GzipWriter&) = delete;
  GzipWriter& operator=(const GzipWriter&) = delete;

  // Appends to `out` what compressing `data` yields so far; with `last` the stream's end too.
  void Write(std::string_view data, bool last, std::string& out);

 private:
  z_stream stream_{};
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

}  // namespace tinderbox::agent
