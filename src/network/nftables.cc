// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "network/nftables.h"

#include <fmt/format.h>
#include <nftables/libnftables.h>

#include <cerrno>
#include <memory>
#include <mutex>
#include <string_view>
#include <utility>

#include "sys/fresh_thread.h"

namespace tinderbox::network {
namespace {

// nftables' complaint on one line, bounded: it quotes the offending rule and marks it below.
std::string FirstLines(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, 600)) {
    if (c != '\n') {
      out += c;
    } else if (!out.ends_with(' ')) {
      out += ' ';
    }
  }
  while (out.ends_with(' ')) out.pop_back();
  return out.empty() ? "no reason given" : out;
}

base::Result<std::string> Run(const std::string& commands, bool json) {
  const std::unique_ptr<nft_ctx, void (*)(nft_ctx*)> ctx(nft_ctx_new(NFT_CTX_DEFAULT),
                                                         nft_ctx_free);
  if (!ctx || nft_ctx_buffer_output(ctx.get()) != 0 || nft_ctx_buffer_error(ctx.get()) != 0) {
    return base::FailErrno(ENOMEM, "open nftables");
  }
  if (json) nft_ctx_output_set_flags(ctx.get(), NFT_CTX_OUTPUT_JSON);
  errno = 0;
  if (nft_run_cmd_from_buffer(ctx.get(), commands.c_str()) == 0) {
    return std::string(nft_ctx_get_output_buffer(ctx.get()));
  }
  const int err = errno;
  const std::string words = FirstLines(nft_ctx_get_error_buffer(ctx.get()));
  auto error = base::Error(base::CodeFromErrno(err), fmt::format("run nftables: {}", words));
  if (err == EPERM) {
    return std::unexpected(
        std::move(error).WithRemedy("Run as root: nftables needs CAP_NET_ADMIN."));
  }
  return std::unexpected(std::move(error).WithRemedy(
      "See that the kernel has nftables: modprobe nf_tables nft_chain_nat nft_masq nft_fib_inet."));
}

}  // namespace

base::Result<std::string> RunNft(const std::string& commands, bool json) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  std::string output;
  // libnftables waits for the kernel with select(2), and a daemon with many clients has no
  // descriptor below 1024 left.
  TRY(sys::WithFewDescriptors([&]() -> base::Result<> {
    output = TRY(Run(commands, json));
    return {};
  }));
  return output;
}

}  // namespace tinderbox::network
