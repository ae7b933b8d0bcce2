// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "sandbox/event.h"
#include "sandbox/sandbox.h"
#include "store/event_table.h"
#include "store/store.h"

// Events on their way into the store, and out of it.
namespace tinderbox::sandbox {

// The event that tells of the change to `record`: kind, detail and what belongs to them are the
// caller's; the rest is filled in. It happens now.
store::EventRecord EventOf(const Sandbox& sandbox, const store::SandboxRecord& record, Event event);
Event ReadEvent(const store::EventRecord& record);

// A sandbox is paused, as `record` says.
store::EventRecord PausedEvent(const Sandbox& sandbox, const store::SandboxRecord& record);
// The life of a sandbox, or what was kept of it, ends.
store::EventRecord KilledEvent(const Sandbox& sandbox, const store::SandboxRecord& record,
                               std::string_view why, bool was_running);

// The life that ends now.
Event::Execution ExecutionOf(const store::SandboxRecord& record);
// A life begins: it has an id of its own.
void BeginExecution(store::SandboxRecord& record);
// "it booted", "its memory was restored", …
std::string_view HowStarted(const store::SandboxRecord& record);

}  // namespace tinderbox::sandbox
