// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "net/http_server.h"
#include "sandbox/manager.h"

// Where all sandboxes are behind one URL, the SDKs' signed URLs of files name no sandbox and come
// without any header: whose token made the signature is whose file it is.
namespace tinderbox::api {

// /files with a signature, by whatever method (a browser asks OPTIONS before it uploads).
bool IsSignedFileRequest(const net::RequestHead& head);

// The id of the sandbox whose token signed this request. kUnauthenticated where none did. Whether
// the signature still holds is for the sandbox's agent to say.
base::Result<std::string> SignerOf(const net::RequestHead& head,
                                   const std::vector<sandbox::SandboxInfo>& sandboxes);

}  // namespace tinderbox::api
