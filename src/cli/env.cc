// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// tinderbox env.
#include <fmt/format.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <vector>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/quote.h"
#include "sys/file.h"

namespace tinderbox::cli {
namespace {

namespace json = boost::json;

// The file that holds the keys made by `env`, by host; "" where there is no home to keep one in.
std::string KeyFile() {
  const char* state = std::getenv("XDG_STATE_HOME");
  if (state != nullptr && *state == '/') return std::string(state) + "/tinderbox/keys.json";
  const char* home = std::getenv("HOME");
  if (home != nullptr && *home == '/')
    return std::string(home) + "/.local/state/tinderbox/keys.json";
  return {};
}

json::object ReadKeys(const std::string& path) {
  if (path.empty()) return {};
  const auto text = sys::ReadFile(path, 1 << 20);
  if (!text) return {};
  boost::system::error_code error;
  json::value parsed = json::parse(*text, error);
  return !error && parsed.is_object() ? std::move(parsed.get_object()) : json::object();
}

base::Result<> KeepKey(const std::string& path, const std::string& host, const std::string& key) {
  if (path.empty()) return {};
  TRY(sys::MakeDirs(path.substr(0, path.rfind('/')), 0700));
  json::object keys = ReadKeys(path);
  keys[host] = key;
  return sys::WriteFileAtomic(path, json::serialize(keys) + "\n", 0600);
}

// Where SDKs find the daemon: they cannot speak to a unix socket.
struct Urls {
  std::string api;
  std::string sandbox;  // of all sandboxes' agents
  std::string domain;   // of the sandboxes' host names; empty: they are not for SDKs
};
base::Result<Urls> UrlsOf(Session& session) {
  if (session.endpoint().unix_path.empty()) {
    const std::string url = "http://" + session.endpoint().ToString();
    return Urls{.api = url, .sandbox = url, .domain = {}};
  }
  const json::value info = TRY(session.CallJson("GET", "/tinderbox/v1/info"));
  Urls urls{.api = TextAt(info, "apiUrl"),
            .sandbox = TextAt(info, "sandboxUrl"),
            .domain = TextAt(info, "domain")};
  if (urls.sandbox.empty()) urls.sandbox = urls.api;
  if (urls.api.empty()) {
    return std::unexpected(
        base::Error(base::Code::kFailedPrecondition, "the daemon serves no TCP port")
            .WithRemedy("Set `listen` in its configuration, for example to 127.0.0.1:3000."));
  }
  return urls;
}

// Whether the daemon takes the key: asked on its socket, where the answer is for whoever bears it.
base::Result<bool> Works(const Session& session, const std::string& key) {
  Session bearer(session.endpoint(), key);
  const auto answer =
      bearer.Call("GET", "/tinderbox/v1/api-key", {}, base::Deadline::After(kCallTime));
  if (answer) return true;
  if (answer.error().code() == base::Code::kUnauthenticated ||
      answer.error().code() == base::Code::kNotFound) {
    return false;
  }
  return std::unexpected(answer.error());
}

base::Result<std::string> Key(Session& session, bool fresh) {
  // Over TCP there is a key already, or there would have been no answer.
  if (!session.endpoint().unix_path.empty()) {
    const std::string path = KeyFile();
    const std::string host = session.endpoint().ToString();
    const std::string kept = TextAt(ReadKeys(path), host);
    if (!fresh && !kept.empty() && TRY(Works(session, kept))) return kept;
    const json::value made = TRY(session.CallJson("POST", "/tinderbox/v1/api-keys",
                                                  json::object{{"label", "tinderbox env"}}));
    const std::string key = TextAt(made, "key");
    TRY_CTX(KeepKey(path, host, key), "keep the new key");
    return key;
  }
  if (!session.api_key().empty()) return session.api_key();
  return std::unexpected(
      base::Error(base::Code::kUnauthenticated, "no API key for " + session.endpoint().ToString())
          .WithRemedy("Set TINDERBOX_API_KEY; root on the server gets one with: tinderbox env"));
}

}  // namespace

base::Result<int> Execute(Session& session, const EnvOptions& options) {
  const Urls urls = TRY(UrlsOf(session));
  const std::string key = TRY(Key(session, options.fresh));
  std::vector<std::pair<std::string_view, std::string_view>> variables = {
      {"E2B_API_KEY", key},
      {"E2B_API_URL", urls.api},
      {"E2B_SANDBOX_URL", urls.sandbox},
      {"E2B_VOLUME_API_URL", urls.api},
  };
  if (!urls.domain.empty()) variables.emplace_back("E2B_DOMAIN", urls.domain);
  json::object object;
  std::string lines;
  for (const auto& [name, value] : variables) {
    object[{name.data(), name.size()}] = std::string(value);
    lines += fmt::format("export {}={}\n", name, ShellQuote(value));
  }
  if (session.json()) {
    TRY(PrintJson(object));
  } else {
    TRY(Print(lines));
  }
  return 0;
}

}  // namespace tinderbox::cli
