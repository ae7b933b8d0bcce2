// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "api/signed_url.h"

#include <fmt/format.h>

#include <string_view>

#include "base/base64.h"
#include "base/sha256.h"

namespace tinderbox::api {
namespace {

struct SignedFields {
  std::string path, username, signature, expiration;
};

SignedFields FieldsOf(const net::RequestHead& head) {
  SignedFields fields;
  // The first of a name counts, as for the agent.
  const auto take = [](std::string& field, const std::string& value) {
    if (field.empty()) field = value;
  };
  for (const auto& [name, value] : net::ParseQuery(head.query)) {
    if (name == "path") take(fields.path, value);
    if (name == "username") take(fields.username, value);
    if (name == "signature") take(fields.signature, value);
    if (name == "signature_expiration") take(fields.expiration, value);
  }
  return fields;
}

bool IsWrite(const net::RequestHead& head) {
  return head.method == "POST" ||
         (head.method == "OPTIONS" && head.headers.Get("Access-Control-Request-Method") == "POST");
}

// What the agent computes too (agent/signature.h).
std::string Signature(const SignedFields& fields, std::string_view operation,
                      std::string_view token) {
  std::string text = fmt::format("{}:{}:{}:{}", fields.path, operation, fields.username, token);
  if (!fields.expiration.empty()) text.append(":").append(fields.expiration);
  const auto digest = base::Sha256(text);
  std::string encoded =
      base::EncodeBase64({reinterpret_cast<const char*>(digest.data()), digest.size()});
  while (encoded.ends_with('=')) encoded.pop_back();
  return "v1_" + encoded;
}

}  // namespace

bool IsSignedFileRequest(const net::RequestHead& head) {
  return head.path == "/files" && !FieldsOf(head).signature.empty();
}

base::Result<std::string> SignerOf(const net::RequestHead& head,
                                   const std::vector<sandbox::SandboxInfo>& sandboxes) {
  const SignedFields fields = FieldsOf(head);
  const std::string_view operation = IsWrite(head) ? "write" : "read";
  for (const sandbox::SandboxInfo& info : sandboxes) {
    // Not in constant time: what is compared is a hash of a secret, and of the caller's own words.
    if (!info.access_token.empty() &&
        Signature(fields, operation, info.access_token) == fields.signature) {
      return info.id;
    }
  }
  return base::Fail(base::Code::kUnauthenticated, "invalid signature");
}

}  // namespace tinderbox::api
