// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
//
// What a VMM says, which a guest may have taken over: QMP, Firecracker's answers, the records in
// the VM's directory.
#include <sys/socket.h>

#include "tests/fuzz/fuzz.h"
#include "vmm/firecracker/api.h"
#include "vmm/launch_record.h"
#include "vmm/qemu/io_events.h"
#include "vmm/qemu/qmp.h"
#include "vmm/qemu/state_file.h"

namespace tinderbox {
namespace {

// A whole conversation with a QEMU that says just this, and hangs up.
void Converse(std::string_view said) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return;
  sys::UniqueFd ours(ends[0]);
  const sys::UniqueFd theirs(ends[1]);
  if (::send(theirs.get(), said.data(), said.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return;
  ::shutdown(theirs.get(), SHUT_WR);
  const base::Deadline deadline = base::Deadline::After(std::chrono::seconds(5));
  auto qmp = vmm::qemu::Qmp::Open(std::move(ours), deadline);
  if (!qmp) return;
  (void)qmp->State(deadline);
  (void)qmp->Run("stop", deadline);
}

// The same to a listener of events.
void Listen(std::string_view said) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return;
  vmm::qemu::QemuIoEvents events{sys::UniqueFd(ends[0])};
  const sys::UniqueFd theirs(ends[1]);
  if (::send(theirs.get(), said.data(), said.size(), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return;
  (void)events.Read();
  (void)events.Continue();
}

void ReadRecords(std::string_view text) {
  if (const auto record = vmm::ParseVmRecord(std::string(text))) {
    const auto again = vmm::ParseVmRecord(vmm::ToJson(*record));
    fuzz::Require(again && *again == *record, "a record is written as it was read");
  }
  (void)vmm::ParseExitStatus(std::string(text));
}

}  // namespace
}  // namespace tinderbox

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace tinderbox;
  const std::string_view text = fuzz::Text(data, size);
  (void)vmm::qemu::ParseQmp(text);
  (void)vmm::qemu::ParseStatus(text);
  Converse(text);
  Listen(text);
  const std::string fault = vmm::firecracker::FaultMessage(text);
  fuzz::Require(!fault.empty() && fault.size() <= 4096, "a fault has words, but not too many");
  for (const char c : fault) {
    fuzz::Require(static_cast<unsigned char>(c) >= 0x20, "a fault has no control characters");
  }
  (void)vmm::firecracker::ParseState(text);
  if (const auto state = vmm::qemu::UnwrapState(text)) {
    fuzz::Require(vmm::qemu::WrapState(*state) == text, "wrapping is the inverse of unwrapping");
  }
  ReadRecords(text);
  return 0;
}
