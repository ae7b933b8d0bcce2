// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0
#include "agent/reseed.h"

#include <fcntl.h>
#include <linux/random.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

#include "sys/fd.h"

namespace tinderbox::agent {
namespace {

constexpr std::size_t kCpuWords = 8;

const sys::UniqueFd& RandomDevice() {
  static const sys::UniqueFd device(::open("/dev/urandom", O_RDWR | O_CLOEXEC));
  return device;
}

#if defined(__x86_64__)
constexpr int kTries = 1000;

// Empty if the CPU has no generator, or a broken one.
__attribute__((target("rdrnd"))) std::string CpuNumbers() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & bit_RDRND) == 0) return {};
  std::string numbers;
  unsigned long long before = 0;
  for (std::size_t i = 0; i < kCpuWords; ++i) {
    unsigned long long word = 0;
    int tries = 0;
    while (_rdrand64_step(&word) == 0) {
      if (++tries == kTries) return {};
    }
    // Some CPUs yield one and the same number after they slept.
    if (i > 0 && word == before) return {};
    before = word;
    numbers.append(reinterpret_cast<const char*>(&word), sizeof word);
  }
  return numbers;
}
#else
std::string CpuNumbers() { return {}; }
#endif

}  // namespace

void OpenRandomDevice() { static_cast<void>(RandomDevice()); }

base::Result<> Reseed(std::string_view entropy) {
  const sys::UniqueFd& random = RandomDevice();
  if (!random) return base::Fail(base::Code::kUnavailable, "open '/dev/urandom': failed before");
  std::vector<char> request(sizeof(rand_pool_info) + entropy.size());
  auto* info = reinterpret_cast<rand_pool_info*>(request.data());
  info->entropy_count = static_cast<int>(std::min<std::size_t>(entropy.size() * 4, 256));
  info->buf_size = static_cast<int>(entropy.size());
  std::memcpy(info->buf, entropy.data(), entropy.size());
  if (::ioctl(random.get(), RNDADDENTROPY, info) != 0 ||
      ::ioctl(random.get(), RNDRESEEDCRNG, nullptr) != 0) {
    return base::FailErrno(errno, "reseed the kernel's random numbers");
  }
  return {};
}

base::Result<> ReseedFromCpu() {
  const std::string numbers = CpuNumbers();
  if (numbers.empty()) {
    return base::Fail(base::Code::kUnavailable, "reseed: the CPU has no random number generator");
  }
  return Reseed(numbers);
}

}  // namespace tinderbox::agent
