// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// What a guest's connection begins with: a ClientHello, or a request's head. However the bytes are
// split, what was decided once stays decided.
#include "egress/domain_pattern.h"
#include "egress/first_bytes.h"
#include "tests/fuzz/fuzz.h"

namespace tinderbox {
namespace {

using egress::FirstWords;
using egress::Said;

void Check(FirstWords (*read)(std::string_view), std::string_view bytes) {
  const FirstWords all = read(bytes);
  fuzz::Require((all.said == Said::kName) == !all.name.empty(), "a name is there or is not");
  if (all.said == Said::kName) {
    fuzz::Require(egress::NormalHostName(all.name) == all.name, "a name is normal");
  }
  const std::size_t step = bytes.size() / 16 + 1;
  for (std::size_t size = 0; size < bytes.size(); size += step) {
    const FirstWords some = read(bytes.substr(0, size));
    fuzz::Require(some.said == Said::kMore || (some.said == all.said && some.name == all.name),
                  "more bytes change no decision");
  }
}

}  // namespace
}  // namespace tinderbox

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tinderbox;
  const std::string_view bytes = fuzz::Text(data, size);
  Check(egress::ReadClientHello, bytes);
  Check(egress::ReadHttpHost, bytes);
  (void)egress::DomainPattern::Parse(bytes);
  return 0;
}
