// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "sys/fd.h"
#include "vmm/io_events.h"

namespace tinderbox::vmm::qemu {

// QMP without waiting for answers. An event alone says too little (a STOP has many reasons), so
// each one leads to query-status; only one question is under way at a time.
class QemuIoEvents final : public IoEvents {
 public:
  static constexpr std::size_t kMaxRead = 64 << 10;  // bytes of one Read

  // Any connected stream socket.
  explicit QemuIoEvents(sys::UniqueFd connection) : connection_(std::move(connection)) {}

  sys::FdRef fd() const override { return connection_; }
  base::Result<> Read() override;
  bool no_room() const override { return no_room_; }
  base::Result<> Continue() override;

 private:
  base::Result<> Take(std::string_view line);
  base::Result<> Ask();  // query-status
  base::Result<> Send(std::string_view command, std::uint64_t id);

  const sys::UniqueFd connection_;
  std::string pending_;  // received, not yet a whole line
  bool asked_ = false;   // query-status is under way
  bool again_ = false;   // an event came meanwhile
  bool no_room_ = false;
};

}  // namespace tinderbox::vmm::qemu
