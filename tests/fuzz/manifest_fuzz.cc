// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// manifest.json of kernels, templates and saved states. What is taken is written and read again as
// the same.
#include <boost/json.hpp>

#include "image/internal/checksum.h"
#include "image/internal/manifest.h"
#include "tests/fuzz/fuzz.h"

namespace tinderbox {
namespace {

template <typename Parse>
void RoundTrip(std::string_view text, Parse parse) {
  const auto manifest = parse(text);
  if (!manifest) {
    fuzz::Require(!manifest.error().message().empty(), "a refusal says why");
    return;
  }
  const std::string written = image::ToJson(*manifest);
  const auto again = parse(written);
  fuzz::Require(again.has_value(), "what was taken can be written and read");
  fuzz::Require(image::ToJson(*again) == written, "and is the same");
}

// No fuzzer guesses a checksum: with the right one put on, `text` gets to what lies behind it.
std::string Summed(std::string_view text) {
  boost::system::error_code ec;
  boost::json::value value = boost::json::parse(text, ec);
  if (ec || !value.is_object()) return {};
  boost::json::object& object = value.get_object();
  object.erase("manifestSum");
  object["manifestSum"] = image::Sha256Hex(boost::json::serialize(object));
  return boost::json::serialize(object);
}

}  // namespace
}  // namespace tinderbox

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tinderbox;
  const std::string_view text = fuzz::Text(data, size);
  RoundTrip(text, image::ParseKernelManifest);
  RoundTrip(text, image::ParseTemplateManifest);
  RoundTrip(Summed(text), image::ParseTemplateManifest);
  (void)image::IsValidTemplateName(text);
  return 0;
}
