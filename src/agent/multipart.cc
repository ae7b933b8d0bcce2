// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/multipart.h"

#include <algorithm>

#include "net/http_message.h"

namespace tinderbox::agent {
namespace {

constexpr std::size_t kMaxHead = 16 << 10;

std::unexpected<base::Error> Broken(std::string what) {
  return base::Fail(base::Code::kInvalidArgument, "read multipart body: " + std::move(what));
}

// The parameter `name` in `form-data; name="file"; filename="…"`. Quoted values have \" and %22
// undone: browsers and fetch write a quote as %22, others with a backslash.
std::optional<std::string> Parameter(std::string_view text, std::string_view name) {
  while (true) {
    const auto semicolon = text.find(';');
    if (semicolon == text.npos) return std::nullopt;
    text.remove_prefix(semicolon + 1);
    while (!text.empty() && (text[0] == ' ' || text[0] == '\t')) text.remove_prefix(1);
    const auto equals = text.find('=');
    if (equals == text.npos) return std::nullopt;
    const std::string_view key = text.substr(0, equals);
    text.remove_prefix(equals + 1);
    std::string value;
    if (text.starts_with('"')) {
      text.remove_prefix(1);
      while (!text.empty() && text[0] != '"') {
        if (text[0] == '\\' && text.size() > 1 && (text[1] == '"' || text[1] == '\\')) {
          text.remove_prefix(1);
        } else if (text.starts_with("%22")) {
          value += '"';
          text.remove_prefix(3);
          continue;
        }
        value += text[0];
        text.remove_prefix(1);
      }
    } else {
      const auto end = std::min(text.find(';'), text.size());
      value = text.substr(0, end);
    }
    if (net::EqualsIgnoreCase(key, name)) return value;
  }
}

}  // namespace

std::optional<std::string> MultipartBoundary(std::string_view content_type) {
  constexpr std::string_view kType = "multipart/form-data";
  if (content_type.size() < kType.size() ||
      !net::EqualsIgnoreCase(content_type.substr(0, kType.size()), kType)) {
    return std::nullopt;
  }
  std::optional<std::string> boundary = Parameter(content_type, "boundary");
  if (!boundary || boundary->empty() || boundary->size() > 70) return std::nullopt;
  return boundary;
}

MultipartReader::MultipartReader(std::string_view boundary, Events events)
    : delimiter_("\r\n--" + std::string(boundary)), events_(std::move(events)) {
  // The first boundary may stand at the very start: with a line end before it, it is like the
  // others.
  pending_ = "\r\n";
}

base::Result<> MultipartReader::Feed(std::string_view bytes) {
  pending_ += bytes;
  while (TRY(Step())) {
  }
  return {};
}

// Advances by one element; false where more bytes are needed.
base::Result<bool> MultipartReader::Step() {
  switch (stage_) {
    case Stage::kEpilogue: pending_.clear(); return false;
    case Stage::kPreamble: {
      const std::size_t at = FindDelimiter();
      if (at == pending_.npos) {
        if (pending_.size() > kMaxHead) return Broken("no boundary");
        return false;
      }
      pending_.erase(0, at + delimiter_.size());
      stage_ = Stage::kAfterBoundary;
      return true;
    }
    case Stage::kAfterBoundary:
      // The line end is kept: a part without fields has its empty line right here.
      stage_ = pending_.starts_with("--") ? Stage::kEpilogue : Stage::kHead;
      return true;
    case Stage::kHead: return StepHead();
    case Stage::kData: return StepData();
  }
  return false;
}

base::Result<bool> MultipartReader::StepHead() {
  const auto end = pending_.find("\r\n\r\n");
  if (end == pending_.npos) {
    if (pending_.size() > kMaxHead) return Broken("part head too long");
    return false;
  }
  std::string disposition;
  std::string_view head = std::string_view(pending_).substr(0, end);
  while (!head.empty()) {
    const auto line_end = std::min(head.find("\r\n"), head.size());
    const std::string_view line = head.substr(0, line_end);
    head.remove_prefix(std::min(line_end + 2, head.size()));
    const auto colon = line.find(':');
    if (colon != line.npos && net::EqualsIgnoreCase(line.substr(0, colon), "Content-Disposition")) {
      disposition = line.substr(colon + 1);
    }
  }
  const std::string name = Parameter(disposition, "name").value_or("");
  const std::string filename = Parameter(disposition, "filename").value_or("");
  pending_.erase(0, end + 4);
  stage_ = Stage::kData;
  TRY(events_.begin(name, filename));
  return true;
}

base::Result<bool> MultipartReader::StepData() {
  const std::size_t at = FindDelimiter();
  if (at != pending_.npos) {
    if (at > 0) TRY(events_.data(std::string_view(pending_).substr(0, at)));
    pending_.erase(0, at + delimiter_.size());
    stage_ = Stage::kAfterBoundary;
    TRY(events_.end());
    return true;
  }
  // The end of what is here may be the beginning of a delimiter.
  const std::size_t held = delimiter_.size() + 1;
  if (pending_.size() <= held) return false;
  const std::size_t sure = pending_.size() - held;
  TRY(events_.data(std::string_view(pending_).substr(0, sure)));
  pending_.erase(0, sure);
  return false;
}

// Where the next delimiter begins that is known to be one: data may hold the boundary's text with
// more behind it. npos where there is none yet.
std::size_t MultipartReader::FindDelimiter() const {
  for (std::size_t at = pending_.find(delimiter_); at != pending_.npos;
       at = pending_.find(delimiter_, at + 1)) {
    const std::string_view behind = std::string_view(pending_).substr(at + delimiter_.size());
    if (behind.starts_with("\r\n") || behind.starts_with("--")) return at;
  }
  return pending_.npos;
}

}  // namespace tinderbox::agent
