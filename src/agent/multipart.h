// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace tinderbox::agent {

// Cuts a multipart/form-data body (RFC 7578) into its parts as it arrives. Holds no more than one
// part's head (at most 16 KiB) and a boundary's length.
class MultipartReader {
 public:
  struct Events {
    // A part begins; `filename` is as the client wrote it, %22 and \" undone.
    std::function<base::Result<>(std::string_view name, std::string_view filename)> begin;
    std::function<base::Result<>(std::string_view data)> data;
    std::function<base::Result<>()> end;
  };

  MultipartReader(std::string_view boundary, Events events);

  // kInvalidArgument for a body that is not multipart; errors of the events are passed on.
  base::Result<> Feed(std::string_view bytes);
  // True once the closing boundary has come.
  bool finished() const { return stage_ == Stage::kEpilogue; }

 private:
  enum class Stage { kPreamble, kAfterBoundary, kHead, kData, kEpilogue };

  base::Result<bool> Step();
  base::Result<bool> StepHead();
  base::Result<bool> StepData();
  std::size_t FindDelimiter() const;

  const std::string delimiter_;  // CRLF "--" boundary
  Events events_;
  Stage stage_ = Stage::kPreamble;
  std::string pending_;
};

// The boundary in a Content-Type, if that is multipart/form-data with a valid one.
std::optional<std::string> MultipartBoundary(std::string_view content_type);

}  // namespace tinderbox::agent
