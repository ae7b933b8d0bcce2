// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <expected>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tinderbox::base {

// Why an operation failed, as a caller can act on it. The set is closed: the API maps every code to
// one HTTP status and one Connect code in one table (api/error_map.cc).
enum class Code {
  kInvalidArgument,     // the request itself is wrong; repeating it cannot help
  kUnauthenticated,     // no or bad credentials
  kPermissionDenied,    // known caller, not allowed
  kNotFound,            // the named object does not exist
  kAlreadyExists,       // the name is taken
  kFailedPrecondition,  // the object is in the wrong state, or the host lacks something
  kResourceExhausted,   // memory, disk, slots, descriptors
  kAborted,             // lost a race; the caller may look again and retry
  kUnavailable,         // the peer is gone or not answering; may be retried
  kDeadlineExceeded,    // the deadline passed first
  kCancelled,           // the caller gave up
  kUnimplemented,       // known request that this version does not serve
  kDataLoss,            // stored data is damaged
  kInternal,            // a bug or an unexpected answer of the kernel
};

std::string_view CodeName(Code code);

// The code that fits errno value `err` best (ENOENT is kNotFound, ENOSPC is kResourceExhausted, …).
Code CodeFromErrno(int err);

// One failure. A value type: copied freely, compared in tests by code().
//
// The message names the operation and the object ("mount tmpfs on '/run/x'"), never ends with a
// full stop, and does not repeat the errno text: ToString() adds that. The remedy, where there is
// one, is a full sentence that tells the user what to do.
class Error {
 public:
  Error(Code code, std::string message,
        std::source_location where = std::source_location::current())
      : code_(code), message_(std::move(message)), where_(where) {}

  // An error out of a failed system call; `err` is the errno value.
  static Error FromErrno(int err, std::string message,
                         std::source_location where = std::source_location::current());

  Code code() const { return code_; }
  int errno_value() const { return errno_; }  // 0 where no system call failed
  const std::string& message() const { return message_; }
  const std::string& remedy() const { return remedy_; }
  const std::source_location& where() const { return where_; }

  Error&& WithRemedy(std::string remedy) && {
    remedy_ = std::move(remedy);
    return std::move(*this);
  }
  Error&& WithErrno(int err) && {
    errno_ = err;
    return std::move(*this);
  }
  // Puts `context` in front of the message: "start sandbox 'x': mount tmpfs on '/run/x'".
  Error&& WithContext(std::string_view context) &&;

  // "mount tmpfs on '/run/x': Permission denied (EACCES)", without remedy.
  std::string ToString() const;

 private:
  Code code_;
  int errno_ = 0;
  std::string message_;
  std::string remedy_;
  std::source_location where_;
};

template <typename T = void>
using Result = std::expected<T, Error>;

// Shorthands for the usual `return Fail(...)`.
inline std::unexpected<Error> Fail(Code code, std::string message,
                                   std::source_location where = std::source_location::current()) {
  return std::unexpected(Error(code, std::move(message), where));
}
inline std::unexpected<Error> FailErrno(
    int err, std::string message, std::source_location where = std::source_location::current()) {
  return std::unexpected(Error::FromErrno(err, std::move(message), where));
}

namespace internal {
template <typename T>
std::unexpected<Error> Propagate(Result<T>& result) {
  return std::unexpected(std::move(result).error());
}
}  // namespace internal

}  // namespace tinderbox::base

// Evaluates `expr` (a Result<T>); on failure returns its error from the enclosing function, else
// yields the value. Not for coroutines: see CO_TRY.
#define TRY(expr)                                                                 \
  ({                                                                              \
    auto try_result_ = (expr);                                                    \
    if (!try_result_) return ::tinderbox::base::internal::Propagate(try_result_); \
    std::move(try_result_).value();                                               \
  })

// TRY that puts `context` (a string expression, evaluated on failure only) before the message.
#define TRY_CTX(expr, context)                                                                     \
  ({                                                                                               \
    auto try_result_ = (expr);                                                                     \
    if (!try_result_) return std::unexpected(std::move(try_result_).error().WithContext(context)); \
    std::move(try_result_).value();                                                                \
  })

// In coroutines, where g++ 12 takes no co_await inside a statement expression:
//   CO_TRY(auto head, co_await ReadHead());
// declares `head` as the value, or co_returns the error.
#define CO_TRY_NAME2_(line) co_try_result_##line
#define CO_TRY_NAME_(line) CO_TRY_NAME2_(line)
#define CO_TRY_IMPL_(result, declaration, expr)                          \
  auto result = (expr);                                                  \
  if (!result) co_return ::tinderbox::base::internal::Propagate(result); \
  declaration = std::move(result).value()
#define CO_TRY(declaration, expr) CO_TRY_IMPL_(CO_TRY_NAME_(__LINE__), declaration, expr)

// The same for Result<void>.
#define CO_TRY_VOID(expr)                                                                  \
  do {                                                                                     \
    auto co_try_result_ = (expr);                                                          \
    if (!co_try_result_) co_return ::tinderbox::base::internal::Propagate(co_try_result_); \
  } while (false)
