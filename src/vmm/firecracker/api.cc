// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "vmm/firecracker/api.h"

#include <fmt/format.h>

#include <boost/json.hpp>

#include "vmm/last_words.h"

namespace tinderbox::vmm::firecracker {

using base::Code;
using base::Error;
using base::Result;

namespace {

// The largest answer there is, GET /vm/config with every device, is a few kilobytes.
constexpr std::size_t kMaxAnswer = 256 << 10;
constexpr std::size_t kMaxFault = 1024;

bool Mentions(std::string_view text, std::string_view word) {
  return text.find(word) != std::string_view::npos;
}

Error Refusal(const PlannedRequest& request, const net::HttpResponse& response) {
  const std::string fault = FaultMessage(response.body);
  const std::string message =
      fmt::format("Firecracker refuses {} {}: {}", request.method, request.path, fault);
  if (response.status == 503) return Error(Code::kUnavailable, message);
  if (response.status != 400)
    return Error(Code::kInternal, fmt::format("{} (status {})", message, response.status));
  if (request.path == "/snapshot/load")
    return Error(Code::kDataLoss, message)
        .WithRemedy("Use another snapshot, or boot from its disk.");
  if (Mentions(fault, "No space left"))
    return Error(Code::kResourceExhausted, message).WithRemedy("Free some disk space.");
  if (Mentions(fault, "kernel") || Mentions(fault, "Kernel"))
    return Error(Code::kInvalidArgument, message)
        .WithRemedy("Give an uncompressed x86-64 kernel (vmlinux).");
  if (Mentions(fault, "/dev/kvm") || Mentions(fault, "Kvm") || Mentions(fault, "KVM"))
    return Error(Code::kFailedPrecondition, message)
        .WithRemedy("Check that /dev/kvm works on this host, or use QEMU.");
  return Error(Code::kFailedPrecondition, message);
}

// The text of `key` in something that is nearly JSON: from the value's first quote to the last one.
std::string_view LenientString(std::string_view body, std::string_view key) {
  const auto at = body.find(fmt::format("\"{}\"", key));
  if (at == std::string_view::npos) return {};
  std::string_view value = body.substr(at + key.size() + 2);
  const auto open = value.find('"');
  const auto close = value.rfind('"');
  if (open == std::string_view::npos || close <= open) return {};
  return value.substr(open + 1, close - open - 1);
}

}  // namespace

std::string FaultMessage(std::string_view body) {
  for (const std::string_view key : {"fault_message", "error"}) {
    boost::json::error_code error;
    const auto json = boost::json::parse(body.substr(0, kMaxAnswer), error);
    if (!error && json.is_object()) {
      const auto* text = json.get_object().if_contains(key);
      if (text != nullptr && text->is_string()) {
        if (auto words = LastWords(text->get_string(), kMaxFault); !words.empty()) return words;
      }
    }
    if (auto words = LastWords(LenientString(body, key), kMaxFault); !words.empty()) return words;
  }
  const std::string words = LastWords(body, kMaxFault);
  return words.empty() ? "it gives no reason" : words;
}

Result<VmState> ParseState(std::string_view body) {
  boost::json::error_code error;
  const auto json = boost::json::parse(body, error);
  const boost::json::value* state =
      !error && json.is_object() ? json.get_object().if_contains("state") : nullptr;
  if (state != nullptr && state->is_string()) {
    if (state->get_string() == "Not started") return VmState::kNotStarted;
    if (state->get_string() == "Running") return VmState::kRunning;
    if (state->get_string() == "Paused") return VmState::kPaused;
  }
  return base::Fail(Code::kDataLoss,
                    fmt::format("no state in Firecracker's answer: {}", LastWords(body, 200)));
}

Result<std::string> Api::Call(const PlannedRequest& request, base::Deadline deadline) {
  net::HttpRequest http;
  http.method = request.method;
  http.target = request.path;
  http.headers = {{"Accept", "application/json"}};
  if (!request.body.empty()) http.headers.push_back({"Content-Type", "application/json"});
  http.body = request.body;
  auto response = TRY_CTX(client_.Request(http, deadline, kMaxAnswer),
                          fmt::format("send {} {} to Firecracker", request.method, request.path));
  if (response.status >= 200 && response.status < 300) return std::move(response.body);
  return std::unexpected(Refusal(request, response));
}

Result<VmState> Api::State(base::Deadline deadline) {
  return ParseState(TRY(Call({.method = "GET", .path = "/", .body = ""}, deadline)));
}

}  // namespace tinderbox::vmm::firecracker
