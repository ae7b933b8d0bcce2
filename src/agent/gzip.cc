// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/gzip.h"

#include <algorithm>
#include <cstdlib>

#include "net/http_message.h"

namespace tinderbox::agent {
namespace {

constexpr std::size_t kPiece = 64 << 10;
constexpr int kGzipWindow = 15 + 16;  // zlib's way to say gzip

Bytef* Bytes(std::string_view data) {
  return reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// The q of ";q=0.5" among an item's parameters; 1 where there is none.
double Weight(std::string_view parameters) {
  const auto at = parameters.find("q=");
  if (at == parameters.npos) return 1;
  return std::clamp(std::strtod(std::string(parameters.substr(at + 2)).c_str(), nullptr), 0.0, 1.0);
}

bool Pays(std::size_t taken, std::size_t given) { return given < taken - taken / 8; }

struct Weights {
  double gzip = -1;  // -1: not named
  double identity = -1;
  double any = -1;

  // identity is allowed unless it, or "*" in its place, is refused.
  bool identity_refused() const { return identity == 0 || (identity < 0 && any == 0); }
};

Weights ParseWeights(std::string_view rest) {
  Weights weights;
  while (!rest.empty()) {
    const auto comma = std::min(rest.find(','), rest.size());
    const std::string_view item = rest.substr(0, comma);
    rest.remove_prefix(std::min(comma + 1, rest.size()));
    const auto semicolon = std::min(item.find(';'), item.size());
    const std::string_view name = Trim(item.substr(0, semicolon));
    const double weight = Weight(item.substr(semicolon));
    if (net::EqualsIgnoreCase(name, "gzip")) weights.gzip = weight;
    if (net::EqualsIgnoreCase(name, "identity")) weights.identity = weight;
    if (name == "*") weights.any = weight;
  }
  return weights;
}

}  // namespace

bool WorthCompressing(std::string_view sample) {
  std::string out;
  GzipWriter().Write(sample, true, out);
  return Pays(sample.size(), out.size());
}

GzipWriter::GzipWriter() {
  ::deflateInit2(&stream_, Z_BEST_SPEED, Z_DEFLATED, kGzipWindow, 8, Z_DEFAULT_STRATEGY);
}
GzipWriter::~GzipWriter() { ::deflateEnd(&stream_); }

void GzipWriter::Write(std::string_view data, bool last, std::string& out) {
  const std::size_t begin = out.size();
  stream_.next_in = Bytes(data);
  stream_.avail_in = static_cast<uInt>(data.size());
  int status = Z_OK;
  do {
    const std::size_t old = out.size();
    out.resize(old + kPiece);
    stream_.next_out = Bytes(out) + old;
    stream_.avail_out = kPiece;
    status = ::deflate(&stream_, last ? Z_FINISH : Z_NO_FLUSH);
    out.resize(old + kPiece - stream_.avail_out);
  } while (stream_.avail_out == 0 || (last && status == Z_OK));
  taken_ += data.size();
  given_ += out.size() - begin;
  if (last || taken_ < (storing_ ? kStored : kTrial)) return;
  const bool store = !storing_ && !Pays(taken_, given_);
  if (store != storing_) SetLevel(store ? Z_NO_COMPRESSION : Z_BEST_SPEED, out);
  storing_ = store;
  taken_ = given_ = 0;
}

void GzipWriter::SetLevel(int level, std::string& out) {
  int status = Z_OK;
  // Z_BUF_ERROR: what was compressed at the old level needs more room.
  do {
    const std::size_t old = out.size();
    out.resize(old + kPiece);
    stream_.next_out = Bytes(out) + old;
    stream_.avail_out = kPiece;
    status = ::deflateParams(&stream_, level, Z_DEFAULT_STRATEGY);
    out.resize(old + kPiece - stream_.avail_out);
  } while (status == Z_BUF_ERROR);
}

GzipReader::GzipReader() : buffer_(kPiece, '\0') { ::inflateInit2(&stream_, kGzipWindow); }
GzipReader::~GzipReader() { ::inflateEnd(&stream_); }

base::Result<> GzipReader::Feed(std::string_view data, const Sink& sink) {
  stream_.next_in = Bytes(data);
  stream_.avail_in = static_cast<uInt>(data.size());
  while (true) {
    if (finished_ && stream_.avail_in > 0) {
      ::inflateReset(&stream_);
      finished_ = false;
    }
    if (finished_) return {};
    stream_.next_out = Bytes(buffer_);
    stream_.avail_out = kPiece;
    const int status = ::inflate(&stream_, Z_NO_FLUSH);
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR) {
      return base::Fail(base::Code::kInvalidArgument, "decode body: it is not gzip");
    }
    const std::size_t produced = kPiece - stream_.avail_out;
    if (produced > 0) TRY(sink(std::string_view(buffer_).substr(0, produced)));
    finished_ = status == Z_STREAM_END;
    if (!finished_ && stream_.avail_in == 0 && stream_.avail_out > 0) return {};
  }
}

std::optional<std::string_view> ChooseEncoding(std::optional<std::string_view> accept_encoding) {
  if (!accept_encoding) return "identity";
  Weights weights = ParseWeights(*accept_encoding);
  if (weights.gzip < 0) weights.gzip = weights.any;
  if (weights.gzip > 0 && weights.gzip >= weights.identity) return "gzip";
  if (!weights.identity_refused()) return "identity";
  return std::nullopt;
}

bool AcceptsIdentity(std::optional<std::string_view> accept_encoding) {
  return !accept_encoding || !ParseWeights(*accept_encoding).identity_refused();
}

}  // namespace tinderbox::agent
