// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/trust.h"

#include <fcntl.h>

#include <string_view>

#include "sys/file.h"

namespace tinderbox::agent {
namespace {

using base::Result;

constexpr std::size_t kMostCertificate = 16 << 10;
constexpr std::size_t kMostBundle = 4 << 20;
// Where update-ca-certificates looks for more of them.
constexpr char kOwnDir[] = "/usr/local/share/ca-certificates";
constexpr char kOwn[] = "/usr/local/share/ca-certificates/tinderbox.crt";
constexpr char kBundleDir[] = "/etc/ssl/certs";
constexpr char kBundle[] = "/etc/ssl/certs/ca-certificates.crt";
// The same thing elsewhere; only where it is there.
constexpr const char* kOtherBundles[] = {"/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};

// Not by way of another file that takes its place: it may be a link, or mounted there.
Result<> AddTo(const std::string& bundle, const std::string& certificate) {
  std::string text;
  if (sys::Exists(bundle)) text = TRY(sys::ReadFile(bundle, kMostBundle));
  if (text.contains(certificate)) return {};
  const sys::UniqueFd file =
      TRY(sys::Open(bundle, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  const bool begun = !text.empty() && !text.ends_with('\n');
  return sys::WriteAll(file, (begun ? "\n" : "") + certificate);
}

}  // namespace

Result<> TrustAuthority(const std::string& certificate, std::map<std::string, std::string>& env,
                        const std::string& root) {
  if (!certificate.starts_with("-----BEGIN CERTIFICATE-----\n") ||
      !certificate.ends_with("-----END CERTIFICATE-----\n") ||
      certificate.size() > kMostCertificate) {
    return base::Fail(base::Code::kInvalidArgument, "caCertificate is no certificate in PEM");
  }
  for (const char* const name : {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}) {
    env.try_emplace(name, kBundle);
  }
  env.try_emplace("NODE_EXTRA_CA_CERTS", kOwn);
  TRY(sys::MakeDirs(root + kOwnDir, 0755));
  const sys::UniqueFd own =
      TRY(sys::Open(root + kOwn, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  TRY(sys::WriteAll(own, certificate));
  TRY(sys::MakeDirs(root + kBundleDir, 0755));
  TRY(AddTo(root + kBundle, certificate));
  for (const char* const bundle : kOtherBundles) {
    if (sys::Exists(root + bundle)) TRY(AddTo(root + bundle, certificate));
  }
  return {};
}

}  // namespace tinderbox::agent
