// SPDX-FileCopyrightText: The Tinderbox authors
// SPDX-License-Identifier: Apache-2.0

// The names of namespaces are the same for every network namespace that shares /run/netns: so is
// the lock on a prefix.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <string>

#include "network/pool_fixture.h"
#include "network/prefix_lock.h"
#include "sys/file.h"
#include "sys/netns.h"

namespace tinderbox::network {
namespace {

using base::Code;
using ::testing::HasSubstr;
using testing::InChild;
using testing::PoolTest;

using PrefixLockRootTest = PoolTest;

// Another daemon with the same prefix in another network namespace of this machine.
TEST_F(PrefixLockRootTest, HoldsAcrossNetworkNamespaces) {
  // The child is made while this process has one thread.
  int go[2];
  ASSERT_EQ(pipe2(go, O_CLOEXEC), 0);
  int result[2];
  ASSERT_EQ(pipe2(result, O_CLOEXEC), 0);
  const pid_t child = fork();
  if (child == 0) {
    char byte = 0;
    if (read(go[0], &byte, 1) != 1 || unshare(CLONE_NEWNET) != 0) _exit(2);
    const auto pool = OpenSlotPool(options_);
    std::string text = pool ? "it opened" : pool.error().ToString() + pool.error().remedy();
    if (pool) static_cast<void>((*pool)->Sweep());
    if (write(result[1], text.data(), text.size()) < 0) _exit(3);
    _exit(0);
  }
  Open();
  const Slot slot = Acquire();
  ASSERT_EQ(write(go[1], "g", 1), 1);
  char text[1024] = {};
  ASSERT_GT(read(result[0], text, sizeof text - 1), 0);
  waitpid(child, nullptr, 0);
  EXPECT_THAT(text, HasSubstr("process " + std::to_string(getpid()) + " in network namespace "));
  EXPECT_THAT(text, HasSubstr("Stop that process"));
  EXPECT_TRUE(sys::OpenNetNs(slot.netns_name)) << "removed by the other one";
  for (const int fd : {go[0], go[1], result[0], result[1]}) close(fd);
}

TEST_F(PrefixLockRootTest, DiesWithItsHolder) {
  const auto plan = AddressPlan::Make(options_).value();
  int ready[2];
  ASSERT_EQ(pipe2(ready, O_CLOEXEC), 0);
  const pid_t child = fork();
  if (child == 0) {
    const auto lock = PrefixLock::Take(plan);
    if (lock && write(ready[1], "r", 1) == 1) pause();
    _exit(1);
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  const auto held = PrefixLock::Take(plan);
  ASSERT_FALSE(held);
  EXPECT_EQ(held.error().code(), Code::kFailedPrecondition);
  EXPECT_THAT(held.error().message(), HasSubstr("process " + std::to_string(child)));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(PrefixLock::Take(plan));
  const std::string path = std::string(kLockDirectory) + "/" + plan.HostTable() + ".lock";
  EXPECT_FALSE(sys::Exists(path)) << "nothing is left of a lock that was given up";
  for (const int fd : ready) close(fd);
}

// Any user may bind an abstract name, or make files wherever users may.
TEST_F(PrefixLockRootTest, OtherUsersCannotTakeIt) {
  const auto plan = AddressPlan::Make(options_).value();
  const auto lock = PrefixLock::Take(plan);
  ASSERT_TRUE(lock);
  const std::string path = std::string(kLockDirectory) + "/" + plan.HostTable() + ".lock";
  EXPECT_EQ(InChild([&] {
              if (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0) {
                return 2;
              }
              return open(path.c_str(), O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES ? 0 : 3;
            }),
            0);
}

TEST_F(PrefixLockRootTest, AnAbstractSocketIsNotInItsWay) {
  const std::string name = "tinderbox-network/" + options_.prefix + "_net";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  const sys::UniqueFd squatter(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(bind(squatter.get(), reinterpret_cast<const sockaddr*>(&address),
                 static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size())),
            0);
  Open();
}

}  // namespace
}  // namespace tinderbox::network
