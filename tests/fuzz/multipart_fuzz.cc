// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// The body of a file upload. However it is split, the same parts come out of it.
#include <string>
#include <vector>

#include "agent/multipart.h"
#include "tests/fuzz/fuzz.h"

namespace tinderbox {
namespace {

// The first line of an input is the Content-Type, the rest is the body.
struct Outcome {
  bool failed = false;
  bool finished = false;
  std::vector<std::string> parts;  // name, file name and content of each, in turn
  bool operator==(const Outcome&) const = default;
};

class Recorder {
 public:
  Recorder(std::string_view boundary, Outcome& outcome)
      : outcome_(outcome),
        reader_(boundary, {.begin = [this](auto name, auto file) { return Begin(name, file); },
                           .data = [this](auto bytes) { return Data(bytes); },
                           .end = [this] { return End(); }}) {}

  void Feed(std::string_view bytes) {
    if (!outcome_.failed) outcome_.failed = !reader_.Feed(bytes).has_value();
    outcome_.finished = reader_.finished();
  }

 private:
  base::Result<> Begin(std::string_view name, std::string_view file) {
    fuzz::Require(!open_, "a part begins after the end of the one before");
    open_ = true;
    outcome_.parts.emplace_back(name);
    outcome_.parts.emplace_back(file);
    outcome_.parts.emplace_back();
    return {};
  }
  base::Result<> Data(std::string_view bytes) {
    fuzz::Require(open_, "data belongs to a part");
    outcome_.parts.back() += bytes;
    return {};
  }
  base::Result<> End() {
    fuzz::Require(open_, "what ends has begun");
    open_ = false;
    return {};
  }

  Outcome& outcome_;
  bool open_ = false;
  agent::MultipartReader reader_;
};

}  // namespace
}  // namespace tinderbox

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tinderbox;
  const std::string_view input = fuzz::Text(data, size);
  const std::size_t line = std::min(input.find('\n'), input.size());
  const auto named = agent::MultipartBoundary(input.substr(0, line));
  if (named)
    fuzz::Require(!named->empty() && named->size() <= 70, "a boundary is within its bound");
  const std::string boundary = named.value_or("b");
  fuzz::Pieces pieces(input.substr(std::min(line + 1, input.size())));
  Outcome whole, split;
  Recorder first(boundary, whole), second(boundary, split);
  first.Feed(pieces.whole());
  while (!pieces.done()) second.Feed(pieces.Next());
  // Bounds on what is held depend on the split; what is within them does not.
  if (!whole.failed && !split.failed && !pieces.whole().empty()) {
    fuzz::Require(whole.finished == split.finished, "a split changes the end");
    fuzz::Require(!whole.finished || whole.parts == split.parts, "a split changes the parts");
  }
  return 0;
}
