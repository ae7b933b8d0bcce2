// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "api/sandbox_address.h"
#include "base/error.h"
#include "net/http_message.h"
#include "sandbox/manager.h"

// What E2B's `network.allowPublicTraffic`, `maskRequestHost` and `httpsPorts` mean for one request.
// The agent's port is never concerned: it has a token of its own.
namespace tinderbox::api {

inline constexpr std::string_view kTrafficTokenHeader = "e2b-traffic-access-token";

// Whether the request bears what the port asks for. Takes as long for a wrong token as for the
// right one.
enum class Admission { kAdmitted, kTokenMissing, kTokenWrong };
Admission Admit(const sandbox::PortAccess& access, std::uint16_t port,
                const net::HeaderList& headers);

// The Host for the guest's server; empty: as the client sent it.
std::string MaskedHost(const sandbox::PortAccess& access, std::uint16_t port);

bool SpeaksTls(const sandbox::PortAccess& access, std::uint16_t port);

// kInvalidArgument unless `mask` is name or name:port once "${PORT}" is replaced by a port, the
// name one of the DNS or an address of IPv4. The message reads on from the field's name: "must …".
base::Result<> CheckMaskHost(std::string_view mask);

// "name:port" without the port.
std::string_view HostOnly(std::string_view host);

}  // namespace tinderbox::api
