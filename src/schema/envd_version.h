// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace tinderbox::schema {

// The envd version whose behaviour the agent has, as clients compare it (`envdVersion` of a
// sandbox). Gates that clients know: 0.3.0 stdin flag, 0.4.0 default user, 0.5.2 CloseStdin, 0.5.7
// octet-stream and gzip uploads, 0.6.2 metadata, 0.6.3 entries in events, 0.6.4 network mounts.
inline constexpr char kEnvdVersion[] = "0.6.4";

}  // namespace tinderbox::schema
