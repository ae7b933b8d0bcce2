// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "secret/key_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "secret/secret_text.h"
#include "sys/file.h"

namespace tinderbox::secret {

using base::Code;
using base::Result;

Key::Key(Key&& other) noexcept : bytes_(other.bytes_) {
  OPENSSL_cleanse(other.bytes_.data(), kBytes);
}

Key& Key::operator=(Key&& other) noexcept {
  if (this == &other) return *this;
  bytes_ = other.bytes_;
  OPENSSL_cleanse(other.bytes_.data(), kBytes);
  return *this;
}

Key::~Key() { OPENSSL_cleanse(bytes_.data(), kBytes); }

namespace {

Result<> CheckPrivate(sys::FdRef fd, const std::string& path) {
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) {
    return base::FailErrno(errno, fmt::format("look at '{}'", path));
  }
  if (S_ISREG(info.st_mode) && info.st_uid == ::geteuid() && (info.st_mode & 077) == 0) return {};
  return std::unexpected(
      base::Error(Code::kFailedPrecondition,
                  fmt::format("read the secrets' key '{}': it is not a file of our own that nobody "
                              "else may read",
                              path))
          .WithRemedy(fmt::format("chown {0} '{1}' && chmod 600 '{1}'; where others may have read "
                                  "it, set every secret anew under a new key.",
                                  ::geteuid(), path)));
}

}  // namespace

Result<std::optional<Key>> ReadKeyFile(const std::string& path) {
  std::optional<sys::UniqueFd> fd = TRY(sys::OpenIfExists(path, O_RDONLY | O_NOFOLLOW));
  if (!fd) return std::optional<Key>();
  TRY(CheckPrivate(*fd, path));
  // Straight into the key: no other place has to be wiped.
  std::optional<Key> key(std::in_place);
  std::size_t have = 0;
  ssize_t n = 0;
  do {
    n = ::read(fd->get(), key->data() + have, Key::kBytes - have);
    if (n < 0 && errno != EINTR) {
      return base::FailErrno(errno, fmt::format("read the secrets' key '{}'", path));
    }
    have += static_cast<std::size_t>(std::max<ssize_t>(n, 0));
  } while (n != 0 && have < Key::kBytes);
  char more = 0;
  if (have == Key::kBytes && ::read(fd->get(), &more, 1) == 0) return key;
  return std::unexpected(
      base::Error(Code::kDataLoss,
                  fmt::format("read the secrets' key '{}': it is not {} bytes", path, Key::kBytes))
          .WithRemedy("Put the right file back from a backup, or remove it together with all "
                      "secrets (tinderbox secret rm) and set those anew."));
}

Result<Key> MakeKeyFile(const std::string& path) {
  Key key;
  for (std::size_t have = 0; have < Key::kBytes;) {
    const ssize_t n = ::getrandom(key.data() + have, Key::kBytes - have, 0);
    if (n > 0) have += static_cast<std::size_t>(n);
  }
  const std::string_view bytes(reinterpret_cast<const char*>(key.data()), Key::kBytes);
  TRY_CTX(sys::WriteFileAtomic(path, bytes, 0600), "make the secrets' key");
  return key;
}

}  // namespace tinderbox::secret
