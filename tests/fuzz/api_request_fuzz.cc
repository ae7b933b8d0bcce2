// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// What a client sends to the control API: bodies, host names, paths, queries.
#include "api/create_body.h"
#include "api/sandbox_address.h"
#include "api/template_name.h"
#include "tests/fuzz/fuzz.h"

namespace tinderbox {
namespace {

void Create(std::string_view body) {
  for (const auto generation : {api::Generation::kV1, api::Generation::kV2}) {
    const auto request = api::ParseCreate(body, generation);
    if (!request) fuzz::Require(!request.error().message().empty(), "a refusal says why");
  }
  (void)api::NormalTemplateName(body);
}

// The first line is the path, the others are header fields.
void Route(std::string_view text) {
  net::RequestHead head;
  head.method = "GET";
  head.path = head.target = std::string(text.substr(0, text.find('\n')));
  text.remove_prefix(std::min(head.path.size() + 1, text.size()));
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const std::size_t colon = std::min(line.find(':'), line.size());
    head.headers.Add(std::string(line.substr(0, colon)),
                     std::string(line.substr(std::min(colon + 1, line.size()))));
  }
  const api::Address address = api::AddressOf(head, "sandbox.example:3000");
  if (const auto* sandbox = std::get_if<api::SandboxAddress>(&address)) {
    for (const char c : sandbox->id) {
      fuzz::Require((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'), "an id is plain");
    }
  }
  // However it is spelled: a path that the agent would read as hidden is hidden.
  const auto decoded = net::PercentDecode(head.path);
  if (decoded && *decoded == "/init") {
    fuzz::Require(api::IsHiddenAgentPath(head.path), "the host's route is hidden");
  }
  (void)net::ParseQuery(head.path);
}

}  // namespace
}  // namespace tinderbox

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tinderbox;
  const std::string_view text = fuzz::Text(data, size);
  Create(text);
  Route(text);
  return 0;
}
