// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "intercept/http_head.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace tinderbox::intercept {
namespace {

using base::Code;
using base::Fail;
using base::Result;
using Kind = Framing::Kind;

std::unexpected<base::Error> Bad(std::string_view what) {
  return Fail(Code::kInvalidArgument, fmt::format("the message's head {}", what));
}

bool IsTokenCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         (c != '\0' && std::string_view("!#$%&'*+-.^_`|~").contains(c));
}
bool IsToken(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, IsTokenCharacter);
}
// Of a field's value: anything but control characters; tabs are allowed.
bool IsValueCharacter(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte >= 0x20 && byte != 0x7f) || byte == '\t';
}
bool IsTargetCharacter(char c) { return static_cast<unsigned char>(c) > 0x20 && c != 0x7f; }

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Takes a line off, which must end in CR LF: a bare LF is a line's end to some, and not to others.
Result<std::string_view> TakeLine(std::string_view& rest) {
  const std::size_t end = rest.find("\r\n");
  if (end == rest.npos) return Bad("has a line without an end");
  const std::string_view line = rest.substr(0, end);
  rest.remove_prefix(end + 2);
  if (line.find_first_of(std::string_view("\r\n\0", 3)) != line.npos) {
    return Bad("has a stray control character");
  }
  return line;
}

Result<net::HeaderList> ReadFields(std::string_view rest) {
  net::HeaderList fields;
  for (;;) {
    const std::string_view line = TRY(TakeLine(rest));
    if (line.empty()) break;
    const std::size_t colon = line.find(':');
    if (colon == line.npos || !IsToken(line.substr(0, colon))) {
      return Bad("has a line that is no field");  // a folded one too
    }
    const std::string_view value = Trimmed(line.substr(colon + 1));
    if (!std::ranges::all_of(value, IsValueCharacter)) {
      return Bad("has a field with a control character");
    }
    if (fields.size() == kMostFields) return Bad("has too many fields");
    fields.Add(std::string(line.substr(0, colon)), std::string(value));
  }
  if (!rest.empty()) return Bad("goes on behind its end");
  return fields;
}

struct Lengths {
  std::optional<std::uint64_t> length;
  bool chunked = false;
  bool coded = false;  // a transfer coding that is not chunked alone
};

Result<Lengths> ReadLengths(const net::HeaderList& fields) {
  Lengths found;
  std::size_t codings = 0;
  for (const auto& [name, value] : fields) {
    if (net::EqualsIgnoreCase(name, "Content-Length")) {
      std::uint64_t length = 0;
      const char* const end = value.data() + value.size();
      const auto [at, error] = std::from_chars(value.data(), end, length);
      if (error != std::errc() || at != end || value.size() > 18) {
        return Bad("has a length that is no number");
      }
      if (found.length && *found.length != length) return Bad("has two lengths");
      if (found.length) found.coded = true;  // said twice: for the caller to judge
      found.length = length;
    } else if (net::EqualsIgnoreCase(name, "Transfer-Encoding")) {
      ++codings;
      found.chunked = net::EqualsIgnoreCase(value, "chunked");
      if (!found.chunked) found.coded = true;
    }
  }
  if (codings > 1) return Bad("has two transfer codings");
  return found;
}

// "1" or "0" of "HTTP/1.x".
std::optional<bool> IsHttp10(std::string_view version) {
  if (version == "HTTP/1.1") return false;
  if (version == "HTTP/1.0") return true;
  return std::nullopt;
}

bool Closes(const net::HeaderList& fields, bool http_1_0) {
  if (fields.HasToken("Connection", "close")) return true;
  return http_1_0 && !fields.HasToken("Connection", "keep-alive");
}

// "EXAMPLE.com.:443" against a normal name and a port.
bool Names(std::string_view authority, std::string_view name, std::uint16_t port) {
  if (const std::size_t colon = authority.rfind(':'); colon != authority.npos) {
    if (authority.substr(colon + 1) != std::to_string(port)) return false;
    authority = authority.substr(0, colon);
  }
  if (authority.ends_with('.')) authority.remove_suffix(1);
  return net::EqualsIgnoreCase(authority, name);
}

}  // namespace

Result<std::size_t> HeadLength(std::string_view bytes, std::size_t seen) {
  const std::size_t end = bytes.substr(0, kMostHead).find("\r\n\r\n", seen < 3 ? 0 : seen - 3);
  if (end != bytes.npos) return end + 4;
  if (bytes.size() >= kMostHead) return Bad(fmt::format("has more than {} bytes", kMostHead));
  return 0;
}

Result<RequestText> ParseRequest(std::string_view head) {
  std::string_view rest = head;
  const std::string_view line = TRY(TakeLine(rest));
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == line.npos || first == last) return Bad("does not begin as a request does");
  RequestText request;
  request.method = line.substr(0, first);
  request.target = line.substr(first + 1, last - first - 1);
  const auto old = IsHttp10(line.substr(last + 1));
  if (!old) return Bad("is not of HTTP/1");
  request.http_1_0 = *old;
  if (!IsToken(request.method) || request.target.empty() ||
      !std::ranges::all_of(request.target, IsTargetCharacter)) {
    return Bad("has a broken request line");
  }
  request.headers = TRY(ReadFields(rest));
  const Lengths lengths = TRY(ReadLengths(request.headers));
  if (lengths.coded || (lengths.chunked && (lengths.length || request.http_1_0))) {
    return Bad("is unclear about its body's length");
  }
  if (lengths.chunked) {
    request.body.kind = Kind::kChunked;
  } else if (lengths.length) {
    request.body = {.kind = Kind::kLength, .length = *lengths.length};
  }
  request.upgrade = !request.http_1_0 && request.headers.HasToken("Connection", "upgrade") &&
                    request.headers.Has("Upgrade");
  request.close = Closes(request.headers, request.http_1_0);
  return request;
}

Result<ResponseText> ParseResponse(std::string_view head, bool to_head) {
  std::string_view rest = head;
  const std::string_view line = TRY(TakeLine(rest));
  const auto old = IsHttp10(line.substr(0, 8));
  if (!old || line.size() < 12 || line[8] != ' ' || (line.size() > 12 && line[12] != ' ')) {
    return Bad("does not begin as a response does");
  }
  ResponseText response;
  const auto [at, error] = std::from_chars(line.data() + 9, line.data() + 12, response.status);
  if (error != std::errc() || at != line.data() + 12 || response.status < 100) {
    return Bad("has no status");
  }
  const net::HeaderList fields = TRY(ReadFields(rest));
  const Lengths lengths = TRY(ReadLengths(fields));
  response.close = Closes(fields, *old);
  const bool bodyless =
      to_head || response.status < 200 || response.status == 204 || response.status == 304;
  if (bodyless) return response;
  if (lengths.chunked) {
    // With a length beside it, the coding counts (RFC 9112 §6.3); such a connection ends.
    response.body.kind = Kind::kChunked;
    response.close = response.close || lengths.length.has_value();
  } else if (lengths.length && !fields.Has("Transfer-Encoding")) {
    response.body = {.kind = Kind::kLength, .length = *lengths.length};
  } else {
    response.body.kind = Kind::kUntilClose;
    response.close = true;
  }
  return response;
}

bool IsFor(const RequestText& request, std::string_view name, std::uint16_t port) {
  std::size_t hosts = 0;
  for (const auto& [key, value] : request.headers) {
    if (!net::EqualsIgnoreCase(key, "Host")) continue;
    if (++hosts > 1 || !Names(value, name, port)) return false;
  }
  if (hosts != 1) return false;
  const std::string_view target = request.target;
  if (target.starts_with('/') || (target == "*" && request.method == "OPTIONS")) return true;
  const std::size_t scheme = target.find("://");
  if (scheme == target.npos) return false;
  if (!net::EqualsIgnoreCase(target.substr(0, scheme), port == 443 ? "https" : "http"))
    return false;
  const std::string_view authority = target.substr(scheme + 3);
  return Names(authority.substr(0, authority.find_first_of("/?#")), name, port);
}

std::string Rewrite(const RequestText& request, const net::HeaderList& set) {
  std::string head = fmt::format("{} {} HTTP/1.{}\r\n", request.method, request.target,
                                 request.http_1_0 ? '0' : '1');
  const auto append = [&head](const std::string& name, const std::string& value) {
    head.append(name).append(": ").append(value).append("\r\n");
  };
  for (const auto& [name, value] : request.headers) {
    if (!set.Has(name)) append(name, value);
  }
  for (const auto& [name, value] : set) append(name, value);
  return head + "\r\n";
}

}  // namespace tinderbox::intercept
