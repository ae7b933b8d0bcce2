// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "base/error.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

namespace tinderbox::base {

std::string_view CodeName(Code code) {
  switch (code) {
    case Code::kInvalidArgument: return "invalid_argument";
    case Code::kUnauthenticated: return "unauthenticated";
    case Code::kPermissionDenied: return "permission_denied";
    case Code::kNotFound: return "not_found";
    case Code::kAlreadyExists: return "already_exists";
    case Code::kFailedPrecondition: return "failed_precondition";
    case Code::kResourceExhausted: return "resource_exhausted";
    case Code::kAborted: return "aborted";
    case Code::kUnavailable: return "unavailable";
    case Code::kDeadlineExceeded: return "deadline_exceeded";
    case Code::kCancelled: return "canceled";
    case Code::kUnimplemented: return "unimplemented";
    case Code::kDataLoss: return "data_loss";
    case Code::kInternal: return "internal";
  }
  return "internal";
}

Code CodeFromErrno(int err) {
  switch (err) {
    case EINVAL:
    case ENAMETOOLONG:
    case ENOEXEC:
    case ENOTDIR:
    case EISDIR: return Code::kInvalidArgument;
    case EACCES:
    case EPERM:
    case EROFS: return Code::kPermissionDenied;
    case ENOENT:
    case ENODEV:
    case ENXIO:
    case ESRCH: return Code::kNotFound;
    case EEXIST:
    case EADDRINUSE: return Code::kAlreadyExists;
    case EBUSY:
    case ENOTEMPTY:
    case ETXTBSY: return Code::kFailedPrecondition;
    case ENOMEM:
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case EAGAIN:
    case EFBIG: return Code::kResourceExhausted;
    case ECONNREFUSED:
    case ECONNRESET:
    case ENETUNREACH:
    case EHOSTUNREACH:
    case EPIPE: return Code::kUnavailable;
    case ETIMEDOUT: return Code::kDeadlineExceeded;
    case ECANCELED: return Code::kCancelled;
    case ENOSYS:
    case EOPNOTSUPP: return Code::kUnimplemented;
    default: return Code::kInternal;
  }
}

Error Error::FromErrno(int err, std::string message, std::source_location where) {
  return Error(CodeFromErrno(err), std::move(message), where).WithErrno(err);
}

Error&& Error::WithContext(std::string_view context) && {
  message_ = fmt::format("{}: {}", context, message_);
  return std::move(*this);
}

std::string Error::ToString() const {
  if (errno_ == 0) return message_;
  const char* name = strerrorname_np(errno_);
  return fmt::format("{}: {} ({})", message_,
                     strerrordesc_np(errno_) ? strerrordesc_np(errno_) : "?",
                     name ? name : "errno");
}

}  // namespace tinderbox::base
